"""JAX on the workloads of `ontogeny bench`: one compiled function runs many steps (`lax.scan`), chains by `vmap`.

Usage: python jax_loop.py WORKLOAD FOLDER [--seconds 5] [--threads 1]

FOLDER is what `ontogeny bench --export FOLDER` wrote. Loss and gradient norm are checked against it before anything is
timed. Both of JAX's generators are tried and the faster is timed. With one thread the process is pinned to one core,
because XLA has no setting that keeps it on one.
"""

import math
import os
import time

from common import Workload, arguments, fastest, report, times

OPTIONS = arguments(__doc__.split("\n")[0]).parse_args()
if OPTIONS.threads == 1:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp

jax.config.update("jax_platforms", "cpu")


def cross_entropy(logits, targets):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], 1).mean()


def attention(qkv, batch, context, heads):
    q, k, v = jnp.transpose(qkv.reshape(batch, context, 3, heads, -1), (2, 0, 3, 1, 4))
    scores = q @ k.transpose(0, 1, 3, 2) * q.shape[-1] ** -0.5
    scores = jnp.where(jnp.tril(jnp.ones((context, context), bool)), scores, -jnp.inf)
    return (jax.nn.softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(batch * context, -1)


def autoencoder(w):
    x = jnp.asarray(w.inputs["x"])

    def loss(ps):
        weight, bias = ps
        return jnp.square(jax.nn.relu(x @ weight.T @ weight + bias) - x).mean()
    return [w.weights["W"], w.weights["b"]], loss


def modular_addition(w):
    tokens, targets = jnp.asarray(w.inputs["tokens"]), jnp.asarray(w.inputs["targets"])
    batch, heads = len(tokens), w.heads(0)

    def loss(ps):
        embed, positions, qkv, out, w_in, b_in, w_out, b_out, unembed = ps
        x = (embed[tokens] + positions).reshape(batch * 3, -1)
        x = x + attention(x @ qkv, batch, 3, heads) @ out
        x = x + jax.nn.relu(x @ w_in + b_in) @ w_out + b_out
        return cross_entropy(x.reshape(batch, 3, -1)[:, -1] @ unembed, targets)
    names = ["mlp.W_in", "mlp.b_in", "mlp.W_out", "mlp.b_out"]
    arrays = [w.weights["embed.W_E"], w.weights["pos_embed.W_pos"], w.qkv(0), w.w_o(0)]
    return arrays + [w.weights[f"blocks.0.{name}"] for name in names] + [w.weights["unembed.W_U"]], loss


def mlp(w):
    x, targets = jnp.asarray(w.inputs["x"]), jnp.asarray(w.inputs["targets"])

    def loss(ps):
        h = jax.nn.relu(x @ ps[0] + ps[1])
        h = jax.nn.relu(h @ ps[2] + ps[3])
        return cross_entropy(h @ ps[4] + ps[5], targets)
    return [w.weights[f"layers.{i}.{name}"] for i in range(3) for name in "Wb"], loss


def cnn(w):
    x, targets = jnp.asarray(w.inputs["x"]), jnp.asarray(w.inputs["targets"])
    names = ["conv.0.W", "conv.0.b", "conv.1.W", "conv.1.b", "dense.W", "dense.b", "out.W", "out.b"]

    def loss(ps):
        h = x
        for weight, bias in (ps[:2], ps[2:4]):
            h = jax.lax.conv(h, weight, (1, 1), "VALID") + bias[:, None, None]
            h = jax.lax.reduce_window(jax.nn.relu(h), -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        h = jax.nn.relu(h.reshape(len(h), -1) @ ps[4] + ps[5])
        return cross_entropy(h @ ps[6] + ps[7], targets)
    return [w.weights[name] for name in names], loss


def deep_linear(w):
    x, y = jnp.asarray(w.inputs["x"]), jnp.asarray(w.inputs["y"])

    def loss(ps):
        h = x
        for weight in ps:
            h = h @ weight
        return jnp.square(h - y).mean()
    return [w.weights[f"layers.{i}.W"] for i in range(5)], loss


def norm(x, gain, shift):
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5) * gain + shift


def language_model(w):
    tokens, targets = jnp.asarray(w.inputs["tokens"]), jnp.asarray(w.inputs["targets"]).ravel()
    batch, context = tokens.shape
    heads = w.heads(0)
    layers = sum(name.endswith("attn.W_Q") for name in w.weights)
    normed = "ln_final.w" in w.weights
    blocks = []
    for layer in range(layers):
        own = {"qkv": w.qkv(layer), "out": w.w_o(layer)}
        if normed:
            names = ["ln1.w", "ln1.b", "attn.b_O", "ln2.w", "ln2.b", "mlp.W_in", "mlp.b_in", "mlp.W_out", "mlp.b_out"]
            own |= {name: w.weights[f"blocks.{layer}.{name}"] for name in names}
            own["b_qkv"] = w.qkv_bias(layer)
        blocks.append(own)
    outer = ["embed.W_E", "pos_embed.W_pos", "unembed.W_U"] + (["ln_final.w", "ln_final.b"] if normed else [])
    ps = {"blocks": blocks} | {name: w.weights[name] for name in outer}

    def loss(ps):
        x = (ps["embed.W_E"][tokens] + ps["pos_embed.W_pos"]).reshape(batch * context, -1)
        for b in ps["blocks"]:
            if not normed:
                x = x + attention(x @ b["qkv"], batch, context, heads) @ b["out"]
                continue
            h = norm(x, b["ln1.w"], b["ln1.b"])
            x = x + attention(h @ b["qkv"] + b["b_qkv"], batch, context, heads) @ b["out"] + b["attn.b_O"]
            h = norm(x, b["ln2.w"], b["ln2.b"])
            x = x + jax.nn.gelu(h @ b["mlp.W_in"] + b["mlp.b_in"], approximate=True) @ b["mlp.W_out"] + b["mlp.b_out"]
        if normed:
            x = norm(x, ps["ln_final.w"], ps["ln_final.b"])
        return cross_entropy(x @ ps["unembed.W_U"], targets)
    return ps, loss


def one_head(w):
    """Head 0 of layer 1 moves; XLA sees that nothing else is differentiated."""
    ps, whole = language_model(w)
    frozen = jax.tree.map(jnp.asarray, ps)
    d, heads = ps["embed.W_E"].shape[1], w.heads(0)
    e = d // heads

    def loss(head):
        qkv = frozen["blocks"][1]["qkv"].reshape(d, 3, heads, e)
        qkv = jnp.concatenate([head["qkv"], qkv[:, :, 1:]], axis=2).reshape(d, 3 * d)
        out = jnp.concatenate([head["out"], frozen["blocks"][1]["out"][e:]])
        return whole(frozen | {"blocks": [frozen["blocks"][0], {"qkv": qkv, "out": out}]})
    last = ps["blocks"][1]
    return {"qkv": last["qkv"].reshape(d, 3, heads, e)[:, :, :1], "out": last["out"][:e]}, loss


BUILD = {
    "W1": autoencoder, "W1x64": autoencoder, "W2": modular_addition, "W2full": modular_addition, "W3": mlp,
    "W4": language_model, "W5": deep_linear, "W6": language_model, "W7": cnn, "W6head": one_head,
}


def sgld(w, loss):
    """One step of one chain: (weights, key) to the next."""
    half, n_beta, gamma = 0.5 * w["step_size"], w["n_beta"], w["localization"]
    root = w["step_size"] ** 0.5

    def step(ps, start, key):
        gradient = jax.grad(loss)(ps)
        leaves, tree = jax.tree.flatten(ps)
        key, *keys = jax.random.split(key, len(leaves) + 1)
        noise = jax.tree.unflatten(tree, [jax.random.normal(k, p.shape) for k, p in zip(keys, leaves)])
        moved = lambda p, p0, g, xi: p - half * (n_beta * g + gamma * (p - p0)) + root * xi
        return jax.tree.map(moved, ps, start, gradient, noise), key
    return step


def adamw(w, loss):
    """(weights, moments, number of steps before) to the next."""
    rate, decay, eps, beta1, beta2 = (w[k] for k in ("learning_rate", "weight_decay", "eps", "beta1", "beta2"))

    def step(state):
        ps, first, second, t = state
        gradient = jax.grad(loss)(ps)
        t = t + 1
        first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, first, gradient)
        second = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, second, gradient)
        fix1, fix2 = 1 - beta1**t, 1 - beta2**t
        moved = lambda p, m, v: p * (1 - rate * decay) - rate * (m / fix1) / (jnp.sqrt(v / fix2) + eps)
        return jax.tree.map(moved, ps, first, second), first, second, t
    return step


def many_steps(w, ps, loss, n, generator):
    """A function that advances all chains by `n` steps in one call; one step needs no loop, which XLA runs faster."""
    copy = lambda tree: jax.tree.map(jnp.copy, tree)
    if w.settings["update"] == "adamw":
        one = adamw(w, loss)
        zeros = jax.tree.map(jnp.zeros_like, ps)
        start, state = (), (copy(ps), zeros, copy(zeros), jnp.float32(0))
        advance = lambda state, start: one(state)
    else:
        one = sgld(w, loss)
        key = jax.random.key(0, impl=generator)
        start, state = copy(ps), (copy(ps), key)
        if w.chains > 1:
            one = jax.vmap(one)
            repeat = lambda p: jnp.repeat(p[None], w.chains, 0)
            start, state = jax.tree.map(repeat, ps), (jax.tree.map(repeat, ps), jax.random.split(key, w.chains))
        advance = lambda state, start: one(state[0], start, state[1])
    scanned = lambda state, start: jax.lax.scan(lambda c, _: (advance(c, start), None), state, None, length=n)[0]
    run = jax.jit(advance if n == 1 else scanned, donate_argnums=0)
    held = [state]

    def step():
        held[0] = jax.block_until_ready(run(held[0], start))
    return step


def main():
    w = Workload(OPTIONS.folder, OPTIONS.workload)
    ps, loss = BUILD[w.name](w)
    ps = jax.tree.map(jnp.asarray, ps)
    compiled = jax.jit(jax.value_and_grad(loss))
    value, gradient = compiled(ps)
    w.check(float(value), math.sqrt(sum(float(jnp.square(g).sum()) for g in jax.tree.leaves(gradient))))
    begun = time.perf_counter()
    jax.block_until_ready(compiled(ps))
    once = max(time.perf_counter() - begun, 1e-6) * w.chains
    n = int(min(max(0.05 / once, 1), 200))
    generators = ["threefry2x32"] if w.settings["update"] == "adamw" else ["threefry2x32", "unsafe_rbg"]
    steps = {f"{generator}, {n} steps a call": many_steps(w, ps, loss, n, generator) for generator in generators}
    variant = fastest(steps, OPTIONS.seconds / 2)
    found = times(steps[variant], OPTIONS.seconds, steps_at_once=n)
    report(w, "JAX", variant, found, {"jax": jax.__version__})


if __name__ == "__main__":
    main()
