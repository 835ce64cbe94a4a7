"""Times exact searches for change points here and in ruptures on the same series, and writes a table of ratios.

Usage: python change_points.py [--binary target/release/examples/change_speed] [--rounds 3]

Needs ruptures==1.1.10 and `cargo build --release -p ontogeny-stats --example change_speed`. Each round runs ours, then
ruptures; shown is the fastest run of each, with making the cost. Every case also compares the segments, which must be equal.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import ruptures as rpt

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
warnings.filterwarnings("ignore")


def levels(n, length, seed):
    """Levels of about `length` points each, 3 standard deviations apart in the mean."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(length // 2, length * 3 // 2, size=2 * n // length + 2)
    return (np.repeat(3.0 * rng.normal(size=len(lengths)), lengths)[:n] + rng.normal(size=n)).round(6)


def pelt(model):
    return lambda y, penalty: rpt.Pelt(model=model, jump=1, min_size=2).fit(y).predict(pen=penalty)


def dynp(y, n_changes):
    return rpt.Dynp(model="l2", jump=1, min_size=2).fit(y).predict(n_bkps=n_changes)


def kernel(y, **stop):
    return rpt.KernelCPD(kernel="linear", min_size=2).fit(y.reshape(-1, 1)).predict(**stop)


def cases():
    for n, length in [(500, 50), (1000, 50), (2000, 50), (1000, 1000)]:
        y = levels(n, length, n + length)
        penalty = round(3 * float(np.log(n)), 6)
        name = f"{n} points, level of {length}"
        yield f"Pelt(l2, jump=1), {name}", y, "pelt", penalty, "l2", pelt("l2")
        yield f"KernelCPD(linear), {name}", y, "pelt", penalty, "l2", lambda y, p: kernel(y, pen=p)
    y = levels(20000, 200, 3)
    yield "KernelCPD(linear), 20000 points, level of 200", y, "pelt", 30.0, "l2", lambda y, p: kernel(y, pen=p)
    y = levels(2000, 200, 4)
    yield "KernelCPD(linear), 2000 points, 10 changes", y, "dynp", 10, "l2", lambda y, k: kernel(y, n_bkps=k)
    y = levels(300, 50, 5)
    yield "Dynp(l2, jump=1), 300 points, 5 changes", y, "dynp", 5, "l2", dynp
    for model, penalty in [("l1", 8.0), ("normal", 20.0), ("rank", 8.0), ("rbf", 3.0)]:
        y = levels(400, 50, 6)
        yield f"Pelt({model}, jump=1), 400 points, level of 50", y, "pelt", penalty, model, pelt(model)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/examples/change_speed")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if not args.binary.exists():
        sys.exit(f"{args.binary}: not there; build it with `cargo build --release -p ontogeny-stats --example change_speed`")
    print(f"ruptures {rpt.__version__}; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| peer | ours, ms | peer, ms | ratio | segments |\n|---|---|---|---|---|")
    for name, y, method, argument, model, peer in cases():
        ours, theirs = [], []
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(repr(float(v)) for v in y))
            file.flush()
            for _ in range(args.rounds):
                command = [args.binary, file.name, method, str(argument), model, "0.2"]
                found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
                ours.append(found["ms"])
                begun = time.perf_counter()
                ends = [int(end) for end in peer(y, argument)]
                theirs.append(1e3 * (time.perf_counter() - begun))
        same = f"{len(ends)}, equal" if ends == found["ends"] else f"{len(ends)}, ours {len(found['ends'])}"
        print(f"| {name} | {min(ours):.3f} | {min(theirs):.2f} | {min(theirs) / min(ours):.0f} | {same} |", flush=True)


if __name__ == "__main__":
    main()
