"""Faster forms of three parts of transformers' qwen3_5_moe for training; the class, its forward and its weights stay.

Each computes the same function: `check` compares them with the reference on random input.
"""

import torch
import torch.nn.functional as F
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.models.qwen3_5_moe import modeling_qwen3_5_moe as reference

CHUNK = 64


class UnitLowerInverse(torch.autograd.Function):
    """(I + L)^-1 for strictly lower triangular L [n, CHUNK, CHUNK], by doubling the size of inverted diagonal blocks."""

    @staticmethod
    def forward(ctx, lower):
        size = torch.arange(CHUNK, device=lower.device)
        inverse = torch.eye(CHUNK, device=lower.device, dtype=lower.dtype).expand_as(lower)
        s = 1
        while s < CHUNK:
            row, column = size[:, None] // s, size[None, :] // s
            block = lower * ((row % 2 == 1) & (column == row - 1))
            inverse = inverse - (block if s == 1 else inverse @ block @ inverse)
            s *= 2
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(ctx, grad):
        (inverse,) = ctx.saved_tensors
        t = inverse.transpose(1, 2)
        return -(t @ grad @ t).tril(-1)


def within_chunk(query, key, value, decay, beta):
    """Per chunk, [n, CHUNK, heads, dim] in: everything of the gated delta rule that needs no state, before the inverse."""
    query, key, value = (x.transpose(1, 2).float() for x in (query, key, value))
    decay, beta = (x.transpose(1, 2).float() for x in (decay, beta))
    query = query * torch.rsqrt((query * query).sum(-1, keepdim=True) + 1e-6) * query.shape[-1] ** -0.5
    key = key * torch.rsqrt((key * key).sum(-1, keepdim=True) + 1e-6)
    total = decay.cumsum(2)
    upper = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=query.device).triu(1)
    pairwise = (total.unsqueeze(3) - total.unsqueeze(2)).masked_fill(upper, float("-inf")).exp()
    key_beta = key * beta.unsqueeze(-1)
    lower = ((key_beta @ key.transpose(2, 3)) * pairwise).tril(-1)
    attention = (query @ key.transpose(2, 3)) * pairwise
    grown = total.exp().unsqueeze(-1)
    right = torch.cat((value * beta.unsqueeze(-1), key_beta * grown), -1)
    last = total[..., -1:]
    return lower, attention, right, query * grown, key * (last - total).exp().unsqueeze(-1), last.exp().unsqueeze(-1)


def chunk_gated_delta_rule(query, key, value, g, beta, **options):
    """torch_chunk_gated_delta_rule from an empty state, sequence length a multiple of CHUNK."""
    batch, length, heads, width = value.shape
    n = length // CHUNK
    with torch.autocast(query.device.type, enabled=False):
        cut = lambda x: x.reshape(batch * n, CHUNK, *x.shape[2:])
        lower, attention, right, query, key, decay = parts["within_chunk"](*map(cut, (query, key, value, g, beta)))
        inverse = UnitLowerInverse.apply(lower.reshape(-1, CHUNK, CHUNK)).view_as(lower)
        values, keys = (inverse @ right).split((width, key.shape[-1]), -1)
        per_chunk = [x.reshape(batch, n, *x.shape[1:]).unbind(1) for x in (values, keys, attention, query, key, decay)]
        state, out = None, []
        for value_i, key_sum, attention_i, query_i, key_i, decay_i in zip(*per_chunk):
            new = value_i if state is None else value_i - key_sum @ state
            read = attention_i @ new
            out.append(read if state is None else read + query_i @ state)
            added = key_i.transpose(2, 3) @ new
            state = added if state is None else state * decay_i + added
        return torch.stack(out, 1).transpose(2, 3).reshape(batch, length, heads, width), None


def causal_conv(hidden, weight, bias=None, activation=None, **options):
    """Depthwise causal convolution and SiLU, [batch, channels, length], as shifted products."""
    return parts["shifted"](hidden.transpose(1, 2), weight).transpose(1, 2)


def shifted(u, weight):
    y = u * weight[:, -1]
    for back in range(1, weight.shape[1]):
        y = y + F.pad(u, (0, 0, back, 0))[:, : u.shape[1]] * weight[:, -1 - back]
    return F.silu(y)


def dense_experts(self, hidden, chosen, weights):
    """All experts as one wide MLP whose unchosen parts weigh 0: no sorting, no gathers, one matrix product a side."""
    return parts["all_experts"](hidden, chosen, weights, self.gate_up_proj, self.down_proj)


def all_experts(hidden, chosen, weights, gate_up, down):
    experts, double, width = gate_up.shape
    inner = double // 2
    mixture = torch.zeros(hidden.shape[0], experts, dtype=torch.float32, device=hidden.device)
    mixture = mixture.scatter(1, chosen, weights.float())
    gate = F.linear(hidden, gate_up[:, :inner].reshape(-1, width))
    up = F.linear(hidden, gate_up[:, inner:].reshape(-1, width))
    h = (F.silu(gate) * up).view(-1, experts, inner) * mixture.unsqueeze(-1).to(gate.dtype)
    return F.linear(h.view(-1, experts * inner), down.permute(1, 0, 2).reshape(width, -1)).to(hidden.dtype)


parts = {"within_chunk": within_chunk, "shifted": shifted, "all_experts": all_experts}
ALL_EXPERTS_FUNCTIONS.register("dense", dense_experts)


def install(compiled: bool) -> None:
    """Use the faster forms from now on in this process."""
    reference.torch_chunk_gated_delta_rule = chunk_gated_delta_rule
    reference.causal_conv1d_fn = causal_conv
    if compiled:
        parts["within_chunk"] = torch.compile(within_chunk)
        parts["shifted"] = torch.compile(shifted, dynamic=True)
        parts["all_experts"] = torch.compile(all_experts)
        for norm in (reference.Qwen3_5MoeRMSNorm, reference.Qwen3_5MoeRMSNormGated):
            norm.forward = torch.compile(norm.forward, dynamic=True)


def check(device: str) -> dict[str, float]:
    """Largest absolute difference to the reference, by part."""
    torch.manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, device=device)
    q, k, v = draw(2, 128, 4, 64), draw(2, 128, 4, 64) + 1, draw(2, 128, 4, 64)
    g, beta = -F.softplus(draw(2, 128, 4) - 3), torch.sigmoid(draw(2, 128, 4))
    u, w = draw(2, 96, 128), draw(96, 4)
    experts = reference.Qwen3_5MoeExperts.__new__(reference.Qwen3_5MoeExperts)
    torch.nn.Module.__init__(experts)
    experts.num_experts, experts.act_fn = 8, F.silu
    experts.gate_up_proj, experts.down_proj = (torch.nn.Parameter(draw(*s) / 8) for s in ((8, 64, 64), (8, 64, 32)))
    x, (top, chosen) = draw(50, 64), torch.softmax(draw(50, 8), -1).topk(2)
    eager = reference.Qwen3_5MoeExperts.forward.__wrapped__
    rule = reference.torch_chunk_gated_delta_rule(q, k, v, g, beta, use_qk_l2norm_in_kernel=True)[0]
    return {
        "gated delta rule": (rule - chunk_gated_delta_rule(q, k, v, g, beta)[0]).abs().max().item(),
        "convolution": (reference.causal_conv1d_fn(u, w, activation="silu") - causal_conv(u, w)).abs().max().item(),
        "experts": (eager(experts, x, chosen, top) - dense_experts(experts, x, chosen, top)).abs().max().item(),
    }
