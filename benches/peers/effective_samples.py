"""Effective samples per second: SGLD of ontogeny against that of devinterp, on the same weights, data and settings.

Usage: python effective_samples.py W2 [W3 W6] [--old FOLDER] [--chains 4] [--steps 300] [--burn-in 100] [--rounds 2]

Both sample around the weights of `ontogeny bench --export`, on its one batch, with the same step size, temperature and
localisation, one chain after the other on one core. The effective sample size of the losses after burn-in is ArviZ's (bulk),
for both; what is compared is that over the time of all steps, burn-in included. The means of both must agree within three
combined standard errors (ArviZ's MCSE), else the comparison says so. devinterp 2.0.1 averages burn-in into its estimate:
here it is left out on both sides. With `--old FOLDER` (where `pip install --no-deps --target FOLDER devinterp==1.3.2` put
it) the older version is compared, whose loop wants a DataLoader and an `evaluate` function.

The weights are random, so the localisation holds the chains: gamma is chosen so that a chain forgets where it was in a few
steps, 2/(epsilon·gamma), which makes the loss stationary after burn-in and leaves enough effective samples to compare.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

os.environ["TQDM_DISABLE"] = "1"
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# Step size, n·beta, gamma.
SETTINGS = dict.fromkeys(["W1", "W2", "W3", "W6"], (4e-4, 100.0, 2e3))


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("workloads", nargs="+", choices=sorted(SETTINGS))
    parser.add_argument("--old", type=pathlib.Path, help="folder with devinterp 1.3.2")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--burn-in", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--binary", type=pathlib.Path, default=target / "release" / "ontogeny")
    parser.add_argument("--peer", metavar="FOLDER", help=argparse.SUPPRESS)
    return parser.parse_args()


def new_losses(network, args, settings, chain, found):
    """One chain of devinterp 2: every step's loss as its own loop hands it out."""
    from devinterp.optim import SGMCMC
    from devinterp.slt.sampler import sample_single_chain

    from devinterp_loop import Rows

    step_size, n_beta, localization = settings
    sample_single_chain(
        network,
        Rows(),
        lambda model, _: (model(), {}),
        param_masks={name: None for name, _ in network.named_parameters()},
        num_draws=args.steps,
        sampling_method=lambda parameters, **kwargs: SGMCMC.sgld(parameters, **kwargs),
        sampling_method_kwargs={"lr": step_size, "nbeta": n_beta, "localization": localization},
        seed=chain,
        micro_callback=lambda loss, **_: found.append(float(loss)),
        batch_size=1,
    )


def old_losses(network, args, settings, chain, found):
    """One chain of devinterp 1.3.2, by its `sample`, whose callbacks see the loss of every draw."""
    import torch
    from devinterp.backends.default.slt.sampler import sample
    from devinterp.optim.sgld import SGLD
    from devinterp.slt.callback import SamplerCallback

    class Keep(SamplerCallback):
        def __call__(self, loss, **_):
            found.append(float(loss))

        def get_results(self):
            return {}

    step_size, n_beta, localization = settings
    loader = torch.utils.data.DataLoader([(torch.zeros(1), torch.zeros(1))], batch_size=1)
    sample(
        network,
        loader,
        callbacks=[Keep()],
        evaluate=lambda model, _: model(),
        sampling_method=SGLD,
        optimizer_kwargs={"lr": step_size, "nbeta": n_beta, "localization": localization},
        num_draws=args.steps,
        num_chains=1,
        num_burnin_steps=0,
        seed=chain,
        verbose=False,
    )


def peer(args):
    """What the process of the peer does: chains one after the other, as one JSON line."""
    sys.path.insert(0, str(HERE))
    if args.old:
        sys.path.insert(0, str(args.old))
    import torch

    import torch_loop
    from common import Workload

    torch.set_num_threads(1)
    name = args.workloads[0]
    w = Workload(args.peer, name)
    leaves, losses = torch_loop.build(w, last_position=False)
    network = torch_loop.Network(leaves, next(iter(losses.values())))
    run = old_losses if args.old else new_losses
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begun = time.perf_counter()
        for chain in range(args.chains):
            found.append([])
            run(network, args, SETTINGS[name], chain, found[-1])
        seconds = time.perf_counter() - begun
    print(json.dumps({"losses": found, "seconds": seconds}))


def summary(result, burn_in):
    """Mean, its error, and effective samples per second of the losses after burn-in."""
    import arviz
    import numpy as np

    losses = np.array(result["losses"])[:, burn_in:]
    ess = float(arviz.ess(losses, method="bulk"))
    return float(losses.mean()), float(arviz.mcse(losses, method="mean")), ess, ess / result["seconds"]


def main():
    args = options()
    if args.peer:
        return peer(args)
    print("| workload | ours, ESS/s | peer, ESS/s | ratio | mean loss, ours | mean loss, peer | apart |")
    print("|---|---|---|---|---|---|---|")
    pin = lambda: os.sched_setaffinity(0, {args.core})
    environment = os.environ | {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}

    def run(command):
        output = subprocess.run([str(c) for c in command], capture_output=True, text=True, preexec_fn=pin, env=environment)
        if output.returncode != 0:
            sys.exit(f"{command[0]} ended with {output.returncode}: {output.stderr.strip()[-2000:]}")
        return json.loads(output.stdout.strip().splitlines()[-1])

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([args.binary, "bench", "--export", folder, "--only", ",".join(args.workloads)], check=True)
        for name in args.workloads:
            settings = ",".join(str(x) for x in (args.steps, *SETTINGS[name]))
            ratios = []
            for _ in range(args.rounds):
                ours = run([args.binary, "bench", "--only", name, "--chains", args.chains, "--sample", settings])
                own = [sys.executable, __file__, name, "--peer", folder, "--chains", args.chains, "--steps", args.steps]
                theirs = run(own + (["--old", args.old] if args.old else []))
                a, b = summary(ours, args.burn_in), summary(theirs, args.burn_in)
                ratios.append(a[3] / b[3])
            apart = abs(a[0] - b[0]) / (a[1] ** 2 + b[1] ** 2) ** 0.5
            verdict = f"{apart:.1f} standard errors" + ("" if apart < 3 else ", DISAGREE")
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
            print(f"| {name} | {a[3]:.1f} | {b[3]:.1f} | **{spread}** | {a[0]:.5f} ± {a[1]:.5f} | {b[0]:.5f} ± {b[1]:.5f} | {verdict} |")


if __name__ == "__main__":
    main()
