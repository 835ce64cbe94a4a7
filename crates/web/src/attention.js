// The viewer of attention patterns: draws what attention.rs has drawn for the last checkpoint, for any prompt, head and step.
(() => {
  "use strict";
  const main = document.querySelector("main");
  const group = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
  const escape = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
  const visible = (token) => (token === "" ? "∅" : token.replaceAll(" ", "·").replaceAll("\n", "⏎").replaceAll("\t", "⇥"));

  // The rule of attention.rs.
  const levels = Array.from({ length: 256 }, (_, byte) => Math.min(15, Math.floor(16 * Math.sqrt(byte / 255))));

  for (const viewer of document.querySelectorAll(".viewer")) {
    const { dataset } = viewer;
    const prompts = JSON.parse(dataset.prompts);
    const steps = dataset.steps.split(",").map(Number);
    const encoded = dataset.patterns.split(",");
    const causal = dataset.causal === "true";
    const [select, slider, output] = ["select", "input", "output"].map((name) => viewer.querySelector(name));
    const buttons = [...viewer.querySelectorAll(".heads button")];
    const large = viewer.querySelector(".large");
    const reading = viewer.querySelector(".reading");
    const line = viewer.querySelector(".tokens");
    let prompt = 0;
    let head = 0;
    let query = prompts[0].length - 1;
    viewer.classList.add("live");

    const width = (row, n) => (causal ? row + 1 : n);
    const start = (row, n) => (causal ? (row * (row + 1)) / 2 : row * n);
    const decoded = new Map();
    const bytes = (step) => {
      if (!decoded.has(step)) decoded.set(step, atob(encoded[step]));
      return decoded.get(step);
    };
    // Numbers of a head on the prompt, in 255ths.
    const pattern = (own) => {
      let at = 0;
      for (let before = 0; before < prompt; before++) at += start(prompts[before].length, prompts[before].length) * buttons.length;
      const n = prompts[prompt].length;
      at += own * start(n, n);
      const text = bytes(Number(slider.value));
      return (row, column) => text.charCodeAt(at + start(row, n) + column);
    };
    const cells = (of, n) => {
      const paths = Array(16).fill("");
      for (let row = 0; row < n; row++) {
        const last = width(row, n);
        for (let column = 0; column < last; ) {
          const level = levels[of(row, column)];
          let end = column + 1;
          while (end < last && levels[of(row, end)] === level) end++;
          paths[level] += `M${column} ${row}h${end - column}v1H${column}z`;
          column = end;
        }
      }
      return paths.map((d, level) => (level && d ? `<path class="h${level}" d="${d}"/>` : "")).join("");
    };
    const labels = (tokens) => {
      const every = Math.ceil(tokens.length / 16);
      let svg = "";
      for (let at = 0; at < tokens.length; at += every) {
        const place = (100 * (at + 0.5)) / tokens.length;
        const letters = [...visible(tokens[at])];
        const label = escape(letters.length > 6 ? letters.slice(0, 5).join("") + "…" : letters.join(""));
        svg += `<text x="-7" y="${place}%" dy=".35em" text-anchor="end">${label}</text>`;
        svg += `<svg x="${place}%" y="100%"><text transform="rotate(-90)" x="-7" dy=".35em" text-anchor="end">${label}</text></svg>`;
      }
      return svg;
    };

    const share = (byte) => (byte / 255).toFixed(2);
    const name = (at) => `“${visible(prompts[prompt][at])}” (${at})`;
    // What the chosen row looks at: the tokens in its shades, and the first three in words.
    const drawRow = () => {
      const tokens = prompts[prompt];
      const of = pattern(head);
      const row = Array.from({ length: width(query, tokens.length) }, (_, column) => of(query, column));
      [...line.children].forEach((span, at) => {
        const level = at < row.length ? levels[row[at]] : 0;
        span.className = `f${level}${level > 7 ? " over" : ""}${at === query ? " chosen" : ""}`;
      });
      const most = row.map((byte, at) => [byte, at]).sort((a, b) => b[0] - a[0] || a[1] - b[1]).slice(0, 3).filter(([byte], i) => i === 0 || byte > 0);
      reading.textContent = `${buttons[head].textContent} from ${name(query)}: ${most.map(([byte, at]) => `${name(at)} ${share(byte)}`).join(", ")}`;
      const n = tokens.length;
      large.querySelector(".row").setAttribute("d", `M0 ${query}h${n}v1H0z`);
    };
    const drawLarge = () => {
      const n = prompts[prompt].length;
      buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === head)));
      const map = large.querySelector(".cells");
      map.setAttribute("viewBox", `0 0 ${n} ${n}`);
      map.innerHTML = `${cells(pattern(head), n)}<path class="row"/>`;
      large.querySelector(".chart").setAttribute("aria-label", `attention of ${buttons[head].textContent} at step ${group(steps[slider.value])}`);
      drawRow();
    };
    const draw = () => {
      const n = prompts[prompt].length;
      output.textContent = group(steps[slider.value]);
      slider.setAttribute("aria-valuetext", `step ${output.textContent}`);
      buttons.forEach((button, at) => {
        const map = button.querySelector("svg");
        map.setAttribute("viewBox", `0 0 ${n} ${n}`);
        map.innerHTML = cells(pattern(at), n);
      });
      drawLarge();
    };

    select.addEventListener("change", () => {
      prompt = Number(select.value);
      const tokens = prompts[prompt];
      query = tokens.length - 1;
      line.innerHTML = tokens.map((token) => `<span>${escape(visible(token))}</span>`).join("");
      large.querySelector(".labels").innerHTML = labels(tokens);
      draw();
    });
    slider.addEventListener("input", () => {
      draw();
      main.dispatchEvent(new CustomEvent("pick", { detail: steps[slider.value] }));
    });
    // The cursor of the other figures has moved: the nearest checkpoint that is here.
    main.addEventListener("moved", (event) => {
      let best = 0;
      steps.forEach((step, at) => {
        if (Math.abs(step - event.detail) < Math.abs(steps[best] - event.detail)) best = at;
      });
      if (Number(slider.value) === best) return;
      slider.value = best;
      draw();
    });
    buttons.forEach((button, at) => button.addEventListener("click", () => {
      head = at;
      drawLarge();
    }));
    const choose = (at) => {
      query = Math.max(0, Math.min(prompts[prompt].length - 1, at));
      drawRow();
    };
    line.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: query - 1, ArrowRight: query + 1, Home: 0, End: Infinity }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(to);
    });
    line.addEventListener("click", (event) => {
      const at = [...line.children].indexOf(event.target);
      if (at >= 0) choose(at);
    });
    large.addEventListener("click", (event) => {
      const box = large.querySelector(".cells").getBoundingClientRect();
      const n = prompts[prompt].length;
      if (event.clientY >= box.top && event.clientY < box.bottom) choose(Math.floor((n * (event.clientY - box.top)) / box.height));
    });
    drawLarge();
  }
})();
