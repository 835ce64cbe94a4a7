// One cursor on all figures: it snaps to checkpoints and the keys show the values there, read from the CSV of each figure.
(() => {
  "use strict";
  const main = document.querySelector("main");
  if (!main.dataset.steps) return;
  const steps = main.dataset.steps.split(",").map(Number);
  const scale = Number(main.dataset.scale);
  const warp = (step) => Math.log1p(step / scale);
  const low = warp(Number(main.dataset.first));
  const high = warp(Number(main.dataset.last));
  const position = (step) => (high > low ? 1 + (98 * (warp(step) - low)) / (high - low) : 50);

  const parse = (text) => {
    const rows = [[]];
    let cell = "";
    let quoted = false;
    for (let at = 0; at < text.length; at++) {
      const c = text[at];
      if (quoted) {
        if (c !== '"') cell += c;
        else if (text[at + 1] === '"') { cell += c; at++; }
        else quoted = false;
      } else if (c === '"') quoted = true;
      else if (c === "," || c === "\n") {
        rows[rows.length - 1].push(cell);
        cell = "";
        if (c === "\n") rows.push([]);
      } else cell += c;
    }
    return rows;
  };

  // The rules of number.rs.
  const minus = (text) => text.replace("-", "\u2212");
  const trim = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  const group = (text) => text.replace(/^(\D*)(\d+)/, (_, sign, whole) => sign + whole.replace(/\B(?=(\d{3})+$)/g, ","));
  const exponent = (x, digits) => Number(x.toExponential(digits).split("e")[1]);
  const power = (k) => "10" + [...String(k)].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");
  const value = (x) => {
    if (x === 0) return "0";
    const k = exponent(x, 3);
    if (k >= -3 && k < 6) return trim(group(minus(x.toFixed(Math.max(0, 3 - k)))));
    return `${trim(minus(x.toExponential(3).split("e")[0]))} × ${power(k)}`;
  };
  const stepText = (step) => {
    if (step >= 100 || Number.isInteger(step)) return group(step.toFixed(0));
    return step < 1 ? String(Number(step.toPrecision(2))) : trim(step.toFixed(1));
  };
  const estimate = (x, se) => {
    if (!(se > 0)) return value(x);
    const kError = exponent(se, 1);
    const k = x === 0 ? kError : Math.max(kError, exponent(x, 1));
    if (k >= -3 && k < 6 && kError >= -5) {
      const decimals = Math.max(0, 1 - kError);
      return `${group(minus(x.toFixed(decimals)))} ± ${group(se.toFixed(decimals))}`;
    }
    const decimals = Math.max(0, 1 - kError + k);
    const unit = 10 ** k;
    return `(${minus((x / unit).toFixed(decimals))} ± ${(se / unit).toFixed(decimals)}) × ${power(k)}`;
  };

  const figures = [...document.querySelectorAll("figure")].map((figure) => {
    const link = figure.querySelector("a.csv");
    const rows = link ? parse(decodeURIComponent(link.getAttribute("href").split(",").slice(1).join(","))) : [[]];
    return {
      figure,
      header: rows[0],
      rows: new Map(rows.slice(1).map((row) => [Number(row[0]), row])),
      key: figure.querySelector(".key"),
      plot: figure.querySelector(".plot"),
      cursors: [...figure.querySelectorAll(".cursor")],
    };
  });

  const largest = (columns, row, header, unit) => {
    let best = 0;
    for (const column of columns) {
      if (row[column] !== "" && (!best || Number(row[column]) > Number(row[best]))) best = column;
    }
    if (!best) return "–";
    const label = header[best].replace(/ \([^)]*\)$/, "").split(".").slice(1).join(".");
    return `${label || header[best]}: ${value(Number(row[best]))}${unit}`;
  };
  const reading = (output, row, header, unit) => {
    if (!row) return "–";
    if ("largest" in output.dataset) return largest(output.dataset.largest.split(","), row, header, unit);
    const cell = row[output.dataset.value];
    const error = output.dataset.error ? row[output.dataset.error] : "";
    if (cell !== "") return estimate(Number(cell), error === "" ? 0 : Number(error)) + unit;
    return row[header.lastIndexOf(`${output.dataset.name} status`)] ? "refused" : "–";
  };

  let current = steps.length - 1;
  const moveTo = (index) => {
    current = Math.max(0, Math.min(steps.length - 1, index));
    const step = steps[current];
    main.dispatchEvent(new CustomEvent("moved", { detail: step }));
    main.classList.add("pointing");
    for (const { key, header, rows, cursors } of figures) {
      for (const cursor of cursors) {
        cursor.setAttribute("x1", position(step) + "%");
        cursor.setAttribute("x2", position(step) + "%");
      }
      if (!key) continue;
      key.querySelector(".at b").textContent = stepText(step);
      for (const output of key.querySelectorAll("output")) {
        output.textContent = reading(output, rows.get(step), header, key.dataset.unit);
      }
    }
  };
  const nearest = (percent) => {
    let best = 0;
    steps.forEach((step, index) => {
      if (Math.abs(position(step) - percent) < Math.abs(position(steps[best]) - percent)) best = index;
    });
    return best;
  };
  // The slider of attention patterns.
  main.addEventListener("pick", (event) => moveTo(steps.indexOf(event.detail)));
  for (const { plot, key } of figures) {
    // Planes have no step axis.
    if (!plot) continue;
    const point = (event) => {
      const chart = [...plot.querySelectorAll(".chart")].find((svg) => svg.getBoundingClientRect().width > 0);
      const box = chart.getBoundingClientRect();
      moveTo(nearest((100 * (event.clientX - box.left)) / box.width));
    };
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: steps.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      moveTo(to);
      document.getElementById("spoken").textContent = key ? key.innerText.replace(/\s+/g, " ") : `step ${stepText(steps[current])}`;
    });
  }
})();
