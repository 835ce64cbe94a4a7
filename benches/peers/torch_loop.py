"""PyTorch, as tight as eager code gets, or through `torch.compile`: the workloads of `ontogeny bench`.

Usage: python torch_loop.py WORKLOAD FOLDER [--seconds 5] [--threads 1] [--compile] [--last-position]

FOLDER is what `ontogeny bench --export FOLDER` wrote. Loss and gradient norm are checked against it before anything is
timed. Queries, keys and values are one matrix; attention over long contexts is the fused kernel; gradients are taken over
and not accumulated; the update is in place, without temporaries but for one buffer of noise. Where there is a choice (all
weights in one buffer or not, the fused attention for three tokens), both are tried and the faster is timed.
`--last-position` computes queries, MLP and logits of W2 at the last position only, which is all that its loss reads: the
same loss by less work than the plain network as one would write it.
"""

import math

import torch
import torch.nn.functional as F

from common import Workload, arguments, fastest, report, times


class Network(torch.nn.Module):
    """The leaves as parameters, their loss as the forward pass."""

    def __init__(self, leaves, loss):
        super().__init__()
        self.leaves = torch.nn.ParameterList([torch.nn.Parameter(leaf.detach()) for leaf in leaves])
        self.loss = loss

    def forward(self):
        return self.loss(list(self.leaves))


def leaves(arrays):
    return [torch.from_numpy(a).clone().requires_grad_() for a in arrays]


def floats(workload, name):
    return torch.from_numpy(workload.inputs[name])


def ids(workload, name):
    return torch.from_numpy(workload.inputs[name]).long()


def autoencoder(w):
    """One chain, or all of them side by side in batched products."""
    x = floats(w, "x")
    if w.chains == 1:
        def loss(ps):
            weight, bias = ps
            return F.mse_loss(F.relu(torch.addmm(bias, x @ weight.T, weight)), x)
        return leaves([w.weights["W"], w.weights["b"]]), {"": loss}
    n = w.chains
    many = x.expand(n, *x.shape)

    def loss(ps):
        weight, bias = ps
        y = F.relu(torch.baddbmm(bias[:, None], torch.bmm(many, weight.transpose(1, 2)), weight))
        return (y - x).square().mean((1, 2)).sum()
    return leaves([w.weights[name][None].repeat(n, 0) for name in ("W", "b")]), {"": loss}


def modular_addition(w, last_position):
    tokens, targets = ids(w, "tokens"), ids(w, "targets")
    batch, d, heads = len(tokens), 128, w.heads(0)
    e = d // heads
    mask = torch.full((3, 3), float("-inf")).triu(1)
    names = ["mlp.W_in", "mlp.b_in", "mlp.W_out", "mlp.b_out"]
    ps = leaves([
        w.weights["embed.W_E"], w.weights["pos_embed.W_pos"], w.qkv(0), w.w_o(0),
        *(w.weights[f"blocks.0.{name}"] for name in names), w.weights["unembed.W_U"],
    ])

    def plain(attend):
        def loss(ps):
            embed, positions, qkv, out, w_in, b_in, w_out, b_out, unembed = ps
            x = (F.embedding(tokens, embed) + positions).view(-1, d)
            q, k, v = [y.view(batch, 3, heads, e).transpose(1, 2) for y in (x @ qkv).split(d, -1)]
            x = torch.addmm(x, attend(q, k, v).transpose(1, 2).reshape(-1, d), out)
            x = x + torch.addmm(b_out, F.relu(torch.addmm(b_in, x, w_in)), w_out)
            return F.cross_entropy(x.view(batch, 3, d)[:, -1] @ unembed, targets)
        return loss

    def at_the_last_position(ps):
        embed, positions, qkv, out, w_in, b_in, w_out, b_out, unembed = ps
        x = F.embedding(tokens, embed) + positions
        last = x[:, -1]
        q = (last @ qkv[:, :d]).view(batch, heads, 1, e)
        k, v = (x.view(-1, d) @ qkv[:, d:]).view(batch, 3, 2, heads, e).permute(2, 0, 3, 1, 4)
        # The last position may read every position: no mask.
        z = torch.softmax(q @ k.transpose(-1, -2) * e**-0.5, dim=-1) @ v
        x = torch.addmm(last, z.reshape(batch, d), out)
        x = x + torch.addmm(b_out, F.relu(torch.addmm(b_in, x, w_in)), w_out)
        return F.cross_entropy(x @ unembed, targets)

    if last_position:
        return ps, {"last position": at_the_last_position}
    by_hand = lambda q, k, v: torch.softmax(q @ k.transpose(-1, -2) * e**-0.5 + mask, dim=-1) @ v
    fused = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return ps, {"softmax": plain(by_hand), "fused attention": plain(fused)}


def mlp(w):
    x, targets = floats(w, "x"), ids(w, "targets")

    def loss(ps):
        h = x
        for weight, bias in zip(ps[:-2:2], ps[1:-2:2]):
            h = F.relu_(torch.addmm(bias, h, weight))
        return F.cross_entropy(torch.addmm(ps[-1], h, ps[-2]), targets)
    return leaves(w.weights[f"layers.{i}.{name}"] for i in range(3) for name in "Wb"), {"": loss}


def cnn(w):
    x, targets = floats(w, "x"), ids(w, "targets")
    names = ["conv.0.W", "conv.0.b", "conv.1.W", "conv.1.b", "dense.W", "dense.b", "out.W", "out.b"]

    def of(x):
        def loss(ps):
            h = x
            for weight, bias in (ps[:2], ps[2:4]):
                h = F.max_pool2d(F.relu_(F.conv2d(h, weight, bias)), 2)
            h = F.relu_(torch.addmm(ps[5], h.flatten(1), ps[4]))
            return F.cross_entropy(torch.addmm(ps[7], h, ps[6]), targets)
        return loss
    # Both layouts of images; the second makes no difference to one channel, so it is asked for with strides.
    last = torch.empty(x.shape).as_strided(x.shape, (28 * 28, 1, 28, 1)).copy_(x)
    return leaves(w.weights[name] for name in names), {"channels last": of(last), "channels first": of(x)}


def deep_linear(w):
    x, y = floats(w, "x"), floats(w, "y")

    def loss(ps):
        h = x
        for weight in ps:
            h = h @ weight
        return F.mse_loss(h, y)
    return leaves(w.weights[f"layers.{i}.W"] for i in range(5)), {"": loss}


def language_model(w):
    tokens, targets = ids(w, "tokens"), ids(w, "targets").view(-1)
    batch, context = tokens.shape
    d, heads = w.weights["embed.W_E"].shape[1], w.heads(0)
    e = d // heads
    layers = sum(name.endswith("attn.W_Q") for name in w.weights)
    normed = "ln_final.w" in w.weights
    arrays = [w.weights["embed.W_E"], w.weights["pos_embed.W_pos"]]
    for layer in range(layers):
        get = lambda name: w.weights[f"blocks.{layer}.{name}"]
        if normed:
            arrays += [get("ln1.w"), get("ln1.b"), w.qkv(layer), w.qkv_bias(layer), w.w_o(layer), get("attn.b_O")]
            arrays += [get(name) for name in ("ln2.w", "ln2.b", "mlp.W_in", "mlp.b_in", "mlp.W_out", "mlp.b_out")]
        else:
            arrays += [w.qkv(layer), w.w_o(layer)]
    if normed:
        arrays += [w.weights["ln_final.w"], w.weights["ln_final.b"]]
    arrays.append(w.weights["unembed.W_U"])

    def attention(qkv):
        q, k, v = [y.view(batch, context, heads, e).transpose(1, 2) for y in qkv.split(d, -1)]
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(-1, d)

    def loss(ps):
        ps = iter(ps)
        x = (F.embedding(tokens, next(ps)) + next(ps)).view(-1, d)
        for _ in range(layers):
            if not normed:
                x = torch.addmm(x, attention(x @ next(ps)), next(ps))
                continue
            h = F.layer_norm(x, (d,), next(ps), next(ps))
            qkv, b_qkv, out, b_out = (next(ps) for _ in range(4))
            x = x + torch.addmm(b_out, attention(torch.addmm(b_qkv, h, qkv)), out)
            h = F.layer_norm(x, (d,), next(ps), next(ps))
            w_in, b_in, w_out, b_out = (next(ps) for _ in range(4))
            x = x + torch.addmm(b_out, F.gelu(torch.addmm(b_in, h, w_in), approximate="tanh"), w_out)
        if normed:
            x = F.layer_norm(x, (d,), next(ps), next(ps))
        return F.cross_entropy(x @ next(ps), targets)
    return leaves(arrays), {"": loss}


def one_head(w):
    """Head 0 of layer 1 moves: its slices are the only leaves, and what they do not reach is computed without gradient."""
    tokens, targets = ids(w, "tokens"), ids(w, "targets").view(-1)
    batch, context = tokens.shape
    d, heads = w.weights["embed.W_E"].shape[1], w.heads(0)
    e = d // heads
    embed, positions, qkv0, out0, unembed = [
        torch.from_numpy(a)
        for a in (w.weights["embed.W_E"], w.weights["pos_embed.W_pos"], w.qkv(0), w.w_o(0), w.weights["unembed.W_U"])
    ]
    of_head = lambda which: w.weights[f"blocks.1.attn.W_{which}"]
    rest = torch.from_numpy(w.qkv(1).reshape(d, 3, heads, e)[:, :, 1:].reshape(d, -1))
    out_rest = torch.from_numpy(of_head("O")[1:].reshape(-1, d))
    ps = leaves([w.qkv(1).reshape(d, 3, heads, e)[:, :, 0].reshape(d, -1), of_head("O")[0]])

    def attention(qkv, heads):
        q, k, v = qkv.view(batch, context, 3, heads, e).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(-1, heads * e)

    def loss(ps):
        qkv, out = ps
        x = (F.embedding(tokens, embed) + positions).view(-1, d)
        x = torch.addmm(x, attention(x @ qkv0, heads), out0)
        frozen = torch.addmm(x, attention(x @ rest, heads - 1), out_rest)
        x = torch.addmm(frozen, attention(x @ qkv, 1), out)
        return F.cross_entropy(x @ unembed, targets)
    return ps, {"": loss}


def build(w, last_position):
    """Leaves, and losses of them by variant."""
    if w.name in ("W2", "W2full"):
        return modular_addition(w, last_position)
    table = {
        "W1": autoencoder, "W1x64": autoencoder, "W3": mlp, "W4": language_model, "W5": deep_linear, "W6": language_model,
        "W7": cnn, "W6head": one_head,
    }
    return table[w.name](w)


def sgld_step(w, ps, loss, noise):
    """Gradients are taken over; one pass for the pull home, one for the gradient, two for the noise."""
    half, n_beta, gamma = 0.5 * w["step_size"], w["n_beta"], w["localization"]
    root = w["step_size"] ** 0.5
    starts = [p.detach().clone() for p in ps]

    def step():
        for p in ps:
            p.grad = None
        loss(ps).backward()
        with torch.no_grad():
            for p, start, xi in zip(ps, starts, noise):
                p.lerp_(start, half * gamma).add_(p.grad, alpha=-half * n_beta)
                p.add_(xi.normal_(), alpha=root)
    return step


def flat_sgld_step(w, ps, loss):
    """The same with all weights in one buffer and all gradients in another: few calls, which is what small networks want."""
    half, n_beta, gamma = 0.5 * w["step_size"], w["n_beta"], w["localization"]
    root = w["step_size"] ** 0.5
    flat = torch.cat([p.detach().reshape(-1) for p in ps])
    gradient, noise, start = torch.zeros_like(flat), torch.empty_like(flat), flat.clone()
    views, at = [], 0
    for p in ps:
        view = flat[at:at + p.numel()].view(p.shape).requires_grad_()
        view.grad = gradient[at:at + p.numel()].view(p.shape)
        views.append(view)
        at += p.numel()

    def step():
        gradient.zero_()
        loss(views).backward()
        with torch.no_grad():
            flat.lerp_(start, half * gamma).add_(gradient, alpha=-half * n_beta)
            flat.add_(noise.normal_(), alpha=root)
    step()
    in_place = all(v.grad.untyped_storage().data_ptr() == gradient.untyped_storage().data_ptr() for v in views)
    assert in_place, "autograd replaced a gradient, so the shared buffer is stale"
    return step


def adamw_step(w, ps, loss):
    optimizer = torch.optim.AdamW(
        ps, lr=w["learning_rate"], betas=(w["beta1"], w["beta2"]), eps=w["eps"], weight_decay=w["weight_decay"], fused=True,
    )

    def step():
        optimizer.zero_grad()
        loss(ps).backward()
        optimizer.step()
    return step


def main():
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--last-position", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    w = Workload(options.folder, options.workload)
    ps, losses = build(w, options.last_position)
    steps = {}
    for name, loss in losses.items():
        if options.compile:
            loss = torch.compile(loss, dynamic=False)
        value = loss(ps)
        value.backward()
        square = sum(p.grad.double().square().sum().item() for p in ps)
        for p in ps:
            p.grad = None
        w.check(value.item() / w.chains, math.sqrt(square / w.chains))
        label = lambda buffers: ", ".join(part for part in (name, buffers) if part)
        if w.settings["update"] == "adamw":
            steps[label("fused AdamW")] = adamw_step(w, ps, loss)
            continue
        steps[label("one buffer for each tensor")] = sgld_step(w, ps, loss, [torch.empty_like(p) for p in ps])
        if sum(p.numel() for p in ps) < 1e7:
            steps[label("one buffer")] = flat_sgld_step(w, ps, loss)
    variant = fastest(steps, options.seconds / 2)
    found = times(steps[variant], options.seconds)
    peer = "torch.compile" if options.compile else "torch, last position" if options.last_position else "torch"
    report(w, peer, variant, found, {"torch": torch.__version__})


if __name__ == "__main__":
    main()
