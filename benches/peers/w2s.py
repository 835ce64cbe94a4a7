"""Eager PyTorch, one thread: one SGLD step of a one-layer transformer (workload w2s).

The peer that `ontogeny bench` is compared with. Made for torch 2.15.0, numpy 2.4.6.
Usage: python w2s.py FOLDER [--seconds 20] [--last-position]

The network: vocabulary 114, 3 tokens, d_model 128, 4 heads of 32, MLP 512 with ReLU and biases,
no normalisation, no attention biases, causal; mean cross-entropy at the last position over all
114 logits; batch 512. The step, localised at the initial weights w0:
    w <- w - (eps/2) (nbeta grad L(w) + gamma (w - w0)) + sqrt(eps) xi,  eps 1e-7, nbeta 100, gamma 1
`--last-position` computes queries, MLP and logits at the last position only, which is all that
the loss reads: the same loss, less work than the plain network as a user would write it.

FOLDER holds one raw little-endian file per tensor, TransformerLens names and layouts, row-major:
NAME.f32 for each line of SHAPES below, tokens.i32 [3830, 3] and targets.i32 [3830], of which the
first 512 are used. Missing files are written from numpy seed 0 (all of them, if any is missing).
Prints one JSON line; `loss` and `gradient_norm` are those of the initial weights.
"""

import argparse
import json
import math
import pathlib
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F

BATCH, HEADS, D_HEAD = 512, 4, 32
EPSILON, N_BETA, GAMMA = 1e-7, 100.0, 1.0
N_ROWS, MODULUS = 3830, 113

# Name, shape, standard deviation of the initial values.
SHAPES = [
    ("embed.W_E", (114, 128), 0.5),
    ("pos_embed.W_pos", (3, 128), 0.5),
    ("blocks.0.attn.W_Q", (4, 128, 32), 128**-0.5),
    ("blocks.0.attn.W_K", (4, 128, 32), 128**-0.5),
    ("blocks.0.attn.W_V", (4, 128, 32), 128**-0.5),
    ("blocks.0.attn.W_O", (4, 32, 128), 128**-0.5),
    ("blocks.0.mlp.W_in", (128, 512), 128**-0.5),
    ("blocks.0.mlp.b_in", (512,), 0.1),
    ("blocks.0.mlp.W_out", (512, 128), 512**-0.5),
    ("blocks.0.mlp.b_out", (128,), 0.1),
    ("unembed.W_U", (128, 114), 128**-0.5),
]


def write_inputs(folder):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, shape, std in SHAPES:
        (std * rng.standard_normal(shape)).astype("<f4").tofile(folder / f"{name}.f32")
    a, b = rng.integers(0, MODULUS, (2, N_ROWS))
    tokens = np.stack([a, b, np.full(N_ROWS, MODULUS)], axis=1)
    tokens.astype("<i4").tofile(folder / "tokens.i32")
    ((a + b) % MODULUS).astype("<i4").tofile(folder / "targets.i32")


def read_inputs(folder):
    files = [f"{name}.f32" for name, _, _ in SHAPES] + ["tokens.i32", "targets.i32"]
    if not all((folder / file).exists() for file in files):
        write_inputs(folder)
    weights = {
        name: torch.from_numpy(np.fromfile(folder / f"{name}.f32", "<f4").reshape(shape))
        for name, shape, _ in SHAPES
    }
    tokens = np.fromfile(folder / "tokens.i32", "<i4").reshape(N_ROWS, 3)[:BATCH]
    targets = np.fromfile(folder / "targets.i32", "<i4")[:BATCH]
    return weights, torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(targets.astype(np.int64))


def flat_parameters(weights):
    """All parameters in one buffer, as views that share their gradients with another buffer.

    The update is then four passes over two buffers instead of four per parameter. The three
    attention inputs are kept as one [128, 384] matrix, as a tuned implementation would.
    """
    columns = lambda which: weights[f"blocks.0.attn.W_{which}"].permute(1, 0, 2).reshape(128, 128)
    arrays = [
        weights["embed.W_E"],
        weights["pos_embed.W_pos"],
        torch.cat([columns("Q"), columns("K"), columns("V")], dim=1),
        weights["blocks.0.attn.W_O"].reshape(128, 128),
        weights["blocks.0.mlp.W_in"],
        weights["blocks.0.mlp.b_in"],
        weights["blocks.0.mlp.W_out"],
        weights["blocks.0.mlp.b_out"],
        weights["unembed.W_U"],
    ]
    flat = torch.cat([x.reshape(-1) for x in arrays])
    gradient = torch.zeros_like(flat)
    parameters = []
    for array, start in zip(arrays, np.cumsum([0] + [x.numel() for x in arrays])):
        view = slice(int(start), int(start) + array.numel())
        parameter = flat[view].view(array.shape).requires_grad_()
        parameter.grad = gradient[view].view(array.shape)
        parameters.append(parameter)
    return flat, gradient, parameters


def loss_all_positions(parameters, tokens, targets, mask):
    embed, positions, w_qkv, w_o, w_in, b_in, w_out, b_out, unembed = parameters
    x = F.embedding(tokens, embed) + positions
    qkv = (x.view(-1, 128) @ w_qkv).view(BATCH, 3, 3, HEADS, D_HEAD)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    pattern = torch.softmax(q @ k.transpose(-1, -2) * D_HEAD**-0.5 + mask, dim=-1)
    heads = (pattern @ v).transpose(1, 2).reshape(BATCH * 3, 128)
    x = torch.addmm(x.view(-1, 128), heads, w_o)
    x = x + torch.addmm(b_out, F.relu(torch.addmm(b_in, x, w_in)), w_out)
    return F.cross_entropy(x.view(BATCH, 3, 128)[:, -1] @ unembed, targets)


def loss_last_position(parameters, tokens, targets, _mask):
    embed, positions, w_qkv, w_o, w_in, b_in, w_out, b_out, unembed = parameters
    x = F.embedding(tokens, embed) + positions
    last = x[:, -1]
    q = (last @ w_qkv[:, :128]).view(BATCH, HEADS, 1, D_HEAD)
    kv = (x.view(-1, 128) @ w_qkv[:, 128:]).view(BATCH, 3, 2, HEADS, D_HEAD)
    k, v = kv.permute(2, 0, 3, 1, 4)
    # The last position may read every position: no mask.
    pattern = torch.softmax(q @ k.transpose(-1, -2) * D_HEAD**-0.5, dim=-1)
    x = torch.addmm(last, (pattern @ v).reshape(BATCH, 128), w_o)
    x = x + torch.addmm(b_out, F.relu(torch.addmm(b_in, x, w_in)), w_out)
    return F.cross_entropy(x @ unembed, targets)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("--seconds", type=float, default=20.0)
    arguments.add_argument("--last-position", action="store_true")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    weights, tokens, targets = read_inputs(options.folder)
    flat, gradient, parameters = flat_parameters(weights)
    centre = flat.clone()
    noise = torch.empty_like(flat)
    drift = torch.empty_like(flat)
    mask = torch.full((3, 3), float("-inf")).triu(1)
    loss_of = loss_last_position if options.last_position else loss_all_positions

    def step():
        gradient.zero_()
        loss = loss_of(parameters, tokens, targets, mask)
        loss.backward()
        with torch.no_grad():
            torch.sub(flat, centre, out=drift)
            drift.mul_(GAMMA).add_(gradient, alpha=N_BETA)
            noise.normal_()
            flat.add_(drift, alpha=-EPSILON / 2).add_(noise, alpha=EPSILON**0.5)
        return loss

    initial_loss = loss_of(parameters, tokens, targets, mask)
    initial_loss.backward()
    in_place = [p.grad.data_ptr() - gradient.data_ptr() == 4 * p.storage_offset() for p in parameters]
    assert all(in_place), "autograd replaced a gradient, so the shared buffer is stale"
    gradient_norm = math.sqrt(gradient.double().square().sum().item())

    for _ in range(5):
        step()
    times_ms = []
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end or len(times_ms) < 20:
        start = time.perf_counter()
        step()
        times_ms.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({
        "workload": "w2s_last_position" if options.last_position else "w2s",
        "median_ms": round(statistics.median(times_ms), 4),
        "min_ms": round(min(times_ms), 4),
        "n": len(times_ms),
        "loss": initial_loss.item(),
        "gradient_norm": gradient_norm,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }))


if __name__ == "__main__":
    main()
