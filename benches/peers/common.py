"""What all peers share: the exported workload, the check against it, and the clock."""

import argparse
import json
import math
import pathlib
import statistics
import sys
import time

import numpy as np
from safetensors import safe_open

# Peers must compute what ontogeny computed: loss and gradient norm agree to this, relatively.
TOLERANCE = 1e-4


class Workload:
    """A file of `ontogeny bench --export`: weights, inputs, loss and gradient, and the settings of the update."""

    def __init__(self, folder, name):
        self.name = name
        self.weights, self.inputs = {}, {}
        square = 0.0
        with safe_open(pathlib.Path(folder) / f"{name}.safetensors", framework="numpy") as file:
            self.settings = file.metadata()
            for key in file.keys():
                kind, _, rest = key.partition(".")
                if kind == "weights":
                    self.weights[rest] = file.get_tensor(key)
                elif kind == "inputs":
                    self.inputs[rest] = file.get_tensor(key)
                elif kind == "gradient":
                    gradient = file.get_tensor(key).ravel().astype(np.float64)
                    square += float(gradient @ gradient)
            self.loss = float(file.get_tensor("loss"))
        self.gradient_norm = math.sqrt(square)
        self.chains = int(self.settings["chains"])

    def __getitem__(self, key):
        """A setting of the update."""
        return float(self.settings[key])

    def qkv(self, layer):
        """Queries, keys and values of a layer as one matrix [d, 3 * d], as a tuned implementation keeps them."""
        columns = [self.weights[f"blocks.{layer}.attn.W_{w}"].transpose(1, 0, 2) for w in "QKV"]
        return np.concatenate([c.reshape(c.shape[0], -1) for c in columns], axis=1)

    def qkv_bias(self, layer):
        return np.concatenate([self.weights[f"blocks.{layer}.attn.b_{w}"].ravel() for w in "QKV"])

    def heads(self, layer):
        return self.weights[f"blocks.{layer}.attn.W_Q"].shape[0]

    def w_o(self, layer):
        w = self.weights[f"blocks.{layer}.attn.W_O"]
        return w.reshape(-1, w.shape[-1])

    def check(self, loss, gradient_norm):
        """Stops unless the loss (mean over chains) and the gradient norm (of one chain) are the exported ones."""
        for what, found, expected in [
            ("loss", loss, self.loss),
            ("gradient norm", gradient_norm, self.gradient_norm),
        ]:
            if not abs(found - expected) <= TOLERANCE * abs(expected):
                sys.exit(f"{self.name}: {what} is {found!r}; expected {expected!r} as exported: not the same mathematics")


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("workload", help="W1, W1x64, W2, ...")
    parser.add_argument("folder", type=pathlib.Path, help="where `ontogeny bench --export FOLDER` wrote")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def times(step, seconds, steps_at_once=1, minimum=3):
    """Milliseconds of every step, after two that are not counted (one, where a step takes longer than `seconds`)."""
    begun = time.perf_counter()
    step()
    if time.perf_counter() - begun < seconds:
        step()
    found = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds or len(found) < minimum:
        at = time.perf_counter()
        step()
        found.append(1e3 * (time.perf_counter() - at) / steps_at_once)
    return found


def fastest(variants, seconds):
    """The name of the variant (name -> step) with the lowest median, each tried for a share of `seconds`."""
    if len(variants) == 1:
        return next(iter(variants))
    share = seconds / len(variants)
    return min(variants, key=lambda name: statistics.median(times(variants[name], share, minimum=2)))


def report(workload, peer, variant, found, versions):
    """One JSON line; times are per chain-step."""
    found = sorted(t / workload.chains for t in found)
    quantile = lambda q: found[round(q * (len(found) - 1))]
    print(json.dumps({
        "workload": workload.name,
        "peer": peer,
        "variant": variant,
        "ms_per_chain_step": quantile(0.5),
        "ms_quartiles": [quantile(0.25), quantile(0.75)],
        "ms_fastest": found[0],
        "n": len(found),
        "versions": versions,
    }))
