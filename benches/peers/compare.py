"""Runs `ontogeny bench` and its peers in turn on the same weights and inputs, and writes the table of ratios.

Usage: python compare.py [--only W1,W2] [--peers torch,jax] [--rounds 3] [--seconds 3] [--threads 1] [--core 1]

Before anything is timed each peer checks its loss and gradient norm against ours. In every round ours runs before each
peer (ours, peer, ours, peer, ...), and a ratio is that of such a pair: peer's median time of a chain-step over ours; shown
are the median over rounds, and the least and the largest. With one thread everything is pinned to one core. The table goes
to stdout and, with --write, between the lines `<!-- bench:begin -->` and `<!-- bench:end -->` of docs/performance.md and,
in short, of README.md. Nothing else should run meanwhile: the load of the machine is said in the table.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORKLOADS = ["W1", "W1x64", "W2", "W2full", "W3", "W4", "W5", "W6", "W7", "W6head"]
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


class Peer:
    def __init__(self, title, script, options=(), only=WORKLOADS):
        self.title, self.script, self.options, self.only = title, script, list(options), only


PEERS = {
    "torch": Peer("PyTorch, tight eager", "torch_loop.py"),
    "last": Peer("PyTorch, last position by hand", "torch_loop.py", ["--last-position"], ["W2", "W2full"]),
    "compile": Peer("torch.compile", "torch_loop.py", ["--compile"]),
    "jax": Peer("JAX jit", "jax_loop.py"),
    "devinterp": Peer("devinterp", "devinterp_loop.py", [], [w for w in WORKLOADS if w not in ("W1x64", "W2full")]),
}


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = lambda known: lambda text: [known_name(name, known) for name in text.split(",")]
    parser.add_argument("--only", type=names(WORKLOADS), default=WORKLOADS, help="workloads, separated by commas")
    parser.add_argument("--peers", type=names(PEERS), default=list(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of timing in each process")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="to which one thread is pinned")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--binary", type=pathlib.Path, default=target / "release" / "ontogeny")
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/performance.md and README.md")
    return parser.parse_args()


def known_name(name, known):
    if name not in known:
        raise argparse.ArgumentTypeError(f"`{name}` is none of {', '.join(known)}")
    return name


class Runner:
    """Starts processes on the cores they may use."""

    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.cores = {args.core} if args.threads == 1 else os.sched_getaffinity(0)
        self.environment = os.environ | {
            name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        }

    def run(self, command, **kwargs):
        pin = lambda: os.sched_setaffinity(0, self.cores)
        return subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, preexec_fn=pin, env=self.environment, **kwargs)

    def machine(self):
        output = self.run([self.args.binary, "bench", "--only", "W1", "--seconds", 3, "--json"])
        return json.loads(output.stdout)["machine"]

    def ours(self, workload):
        output = self.run([
            self.args.binary, "bench", "--measured-here", "--only", workload, "--seconds", self.args.seconds,
            "--threads", self.args.threads,
        ])
        if output.returncode != 0:
            sys.exit(f"{workload}: ontogeny bench ended with {output.returncode}: {output.stderr.strip()}")
        return json.loads(output.stdout)

    def peer(self, peer, workload):
        """The peer's line, or in words why there is none."""
        output = self.run([
            sys.executable, HERE / peer.script, workload, self.folder, "--seconds", self.args.seconds,
            "--threads", self.args.threads, *peer.options,
        ], cwd=HERE)
        if output.returncode != 0:
            return (output.stderr.strip().splitlines() or [f"ended with {output.returncode}"])[-1]
        return json.loads(output.stdout.strip().splitlines()[-1])


class Row:
    """What one workload took: ours in every pair, and for each peer its results and the ratios to ours before it."""

    def __init__(self, workload):
        self.workload, self.ours, self.theirs, self.ratios, self.failures = workload, [], {}, {}, {}

    def add(self, name, ours, theirs):
        self.ours.append(ours)
        if isinstance(theirs, str):
            self.failures[name] = theirs
            return
        self.theirs.setdefault(name, []).append(theirs)
        self.ratios.setdefault(name, []).append(theirs["ms_per_chain_step"] / ours["ms_per_chain_step"])

    def our_ms(self):
        return statistics.median(m["ms_per_chain_step"] for m in self.ours)

    def peer_ms(self, name):
        return statistics.median(m["ms_per_chain_step"] for m in self.theirs[name])


def measure(args, runner):
    rows = []
    for workload in args.only:
        row = Row(workload)
        peers = [name for name in args.peers if workload in PEERS[name].only]
        for at in range(args.rounds):
            for name in peers:
                if name in row.failures:
                    continue
                ours = runner.ours(workload)
                row.add(name, ours, runner.peer(PEERS[name], workload))
                told = f"{row.ratios[name][-1]:.2f}" if name in row.ratios else row.failures[name]
                print(f"{workload} round {at + 1} {name}: ours {ms(ours['ms_per_chain_step'])} ms, {told}", file=sys.stderr)
        if not row.ours:
            row.ours.append(runner.ours(workload))
        rows.append(row)
    return rows


def ms(value):
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def factor(ratios):
    show = lambda x: f"{x:.1f}" if x >= 3 else f"{x:.2f}"
    return f"**{show(statistics.median(ratios))}** ({show(min(ratios))}–{show(max(ratios))})"


def heading(args, machine, rows, load):
    versions = {}
    for row in rows:
        for results in row.theirs.values():
            versions |= results[-1]["versions"]
    peers = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    threads = "one thread on one core" if args.threads == 1 else f"{args.threads} threads"
    return (
        f"{machine['cpu']}, {machine['isa']}, {threads}: {machine['gemm_peak_gflops']:.0f} GFLOP/s in large matrix "
        f"products, {machine['copy_gb_per_s']:.0f} GB/s in copying. ontogeny {machine['version']}; {peers}. "
        f"{args.rounds} rounds of {args.seconds:g} s on {datetime.date.today()}; load of the machine before {load[0]:.1f}, "
        f"after {load[1]:.1f} (this comparison alone makes 1)."
    )


def long_table(args, rows):
    """Milliseconds and ratios, and which variant of a peer was the fastest."""
    peers = [name for name in args.peers if any(name in row.theirs for row in rows)]
    lines = ["| | ours, ms | GFLOP/s | of peak | " + " | ".join(PEERS[name].title for name in peers) + " |"]
    lines.append("|---|---|---|---|" + "---|" * len(peers))
    for row in rows:
        fastest, slowest = (pick(m["ms_per_chain_step"] for m in row.ours) for pick in (min, max))
        best = min(row.ours, key=lambda m: abs(m["ms_per_chain_step"] - row.our_ms()))
        share = best["gflops"] / (row.peak * best["threads"])
        cells = [row.workload, f"{ms(row.our_ms())} ({ms(fastest)}–{ms(slowest)})", f"{best['gflops']:.1f}", f"{share:.0%}"]
        for name in peers:
            cells.append(f"{factor(row.ratios[name])}, {ms(row.peer_ms(name))} ms" if name in row.ratios else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def short_table(args, rows):
    peers = [name for name in args.peers if any(name in row.theirs for row in rows)]
    lines = ["| time of a chain-step over ours | ours | " + " | ".join(PEERS[name].title for name in peers) + " |"]
    lines.append("|---|---|" + "---|" * len(peers))
    for row in rows:
        cells = [factor(row.ratios[name]) if name in row.ratios else "–" for name in peers]
        lines.append("| " + " | ".join([f"{row.workload}: {row.about}", f"{ms(row.our_ms())} ms", *cells]) + " |")
    return lines


def notes(rows):
    lines = []
    by_id = {row.workload: row for row in rows}
    if "W6" in by_id and "W6head" in by_id:
        saved = by_id["W6"].our_ms() / by_id["W6head"].our_ms()
        lines.append(f"- A chain on one head (W6head) steps {saved:.2f} times as fast as one on the whole network (W6).")
    for row in rows:
        if (results := row.theirs.get("torch")) and results[-1]["variant"]:
            lines.append(f"- {row.workload}: the fastest eager variant was: {results[-1]['variant']}.")
        for name, failure in row.failures.items():
            lines.append(f"- {row.workload}: {PEERS[name].title} gave no result: `{failure[:200]}`")
    return lines


def replace_block(path, lines):
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        sys.exit(f"{path}: expected the line `{BEGIN}` and after it `{END}`, each once; the table is above")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}")


def main():
    args = options()
    if not args.binary.exists():
        sys.exit(f"{args.binary}: not there; build it with `cargo build --release -p ontogeny`, or name it with --binary")
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(args, folder)
        load = [os.getloadavg()[0]]
        if load[0] > 0.5:
            print(f"the machine is busy (load {load[0]:.1f}): times will scatter", file=sys.stderr)
        exported = runner.run([args.binary, "bench", "--export", folder, "--only", ",".join(args.only)])
        if exported.returncode != 0:
            sys.exit(exported.stderr)
        machine = runner.machine()
        rows = measure(args, runner)
        load.append(os.getloadavg()[0])
        # Whatever else ran can only have made the peaks smaller.
        again = runner.machine()
        for speed in ("gemm_peak_gflops", "copy_gb_per_s"):
            machine[speed] = max(machine[speed], again[speed])
    for row in rows:
        row.peak = machine["gemm_peak_gflops"]
        row.about = row.ours[0]["about"]
    head = heading(args, machine, rows, load)
    long = [head, "", *long_table(args, rows), "", *notes(rows)]
    print("\n".join(long))
    if args.write:
        replace_block(ROOT / "docs" / "performance.md", long)
        replace_block(ROOT / "README.md", [*short_table(args, rows), "", head])


if __name__ == "__main__":
    main()
