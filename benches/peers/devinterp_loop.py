"""The chain of devinterp itself (`sample_single_chain` with its SGLD) on the workloads of `ontogeny bench`.

Usage: python devinterp_loop.py WORKLOAD FOLDER [--seconds 5] [--threads 1]

FOLDER is what `ontogeny bench --export FOLDER` wrote. The losses are those of torch_loop.py, wrapped as a module; the data
loader hands out the indices of a batch that is already in memory, so that neither reading nor tokenising is timed. Every
step is timed from one call of the step callback to the next: batch, loss, gradient, update. devinterp estimates with SGLD
only: W2full (AdamW) is not its workload, and W1x64 would be 64 chains one after the other.
"""

import math
import os
import sys
import time
import warnings
from importlib.metadata import version

os.environ["TQDM_DISABLE"] = "1"

import torch
from devinterp.optim import SGMCMC
from devinterp.slt.sampler import sample_single_chain

import torch_loop
from common import Workload, arguments, report


class Rows(torch.utils.data.Dataset):
    """One index: the whole batch lies in the network."""

    def __len__(self):
        return 1

    def __getitem__(self, _):
        return {"input_ids": torch.zeros(1)}


class Enough(Exception):
    """The time is over."""


def sampler(parameters, **settings):
    return SGMCMC.sgld(parameters, **settings)


def main():
    options = arguments(__doc__.split("\n")[0]).parse_args()
    if options.workload in ("W1x64", "W2full"):
        sys.exit(f"{options.workload}: not a workload of devinterp")
    torch.set_num_threads(options.threads)
    w = Workload(options.folder, options.workload)
    leaves, losses = torch_loop.build(w, last_position=False)
    variant, loss = next(iter(losses.items()))
    network = torch_loop.Network(leaves, loss)
    value = network()
    value.backward()
    square = sum(p.grad.double().square().sum().item() for p in network.parameters())
    w.check(value.item(), math.sqrt(square))
    network.zero_grad(set_to_none=True)
    found = []
    at = [None, None]

    def on_step(chain, step, optimizer):
        now = time.perf_counter()
        if step == 1:
            at[1] = now
        elif step > 1:
            found.append(1e3 * (now - at[0]))
            if now - at[1] > options.seconds and len(found) >= 3:
                raise Enough
        at[0] = time.perf_counter()

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sample_single_chain(
                network,
                Rows(),
                lambda model, _: (model(), {}),
                param_masks={name: None for name, _ in network.named_parameters()},
                num_draws=10**9,
                sampling_method=sampler,
                sampling_method_kwargs={"lr": w["step_size"], "nbeta": w["n_beta"], "localization": w["localization"]},
                seed=0,
                step_callback=on_step,
                batch_size=1,
            )
    except Enough:
        pass
    report(w, "devinterp", variant, found, {"devinterp": version("devinterp"), "torch": torch.__version__})


if __name__ == "__main__":
    main()
