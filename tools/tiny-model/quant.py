"""MLX's affine quantisation and what a checkpoint stores, as functions on float32 tensors.

Scale and bias follow mlx/backend/cpu/quantized.cpp: the larger edge of a group is met exactly, so about half of all
scales are negative; codes are chosen with the unrounded parameters, which are then rounded to bfloat16.
"""

import torch

GROUP = 64


def affine(groups: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes [n, GROUP] (float), scales [n, 1] and biases [n, 1] (float32 holding bfloat16 values) of [n, GROUP]."""
    top = float(2**bits - 1)
    low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
    scale = ((high - low) / top).clamp_min(1e-7)
    from_low = low.abs() > high.abs()
    edge = torch.where(from_low, low, high)
    scale = torch.where(from_low, scale, -scale)
    steps = torch.round(edge / scale)
    exact = steps != 0
    scale = torch.where(exact, edge / torch.where(exact, steps, 1.0), scale)
    bias = torch.where(exact, edge, 0.0)
    codes = torch.round((groups - bias) / scale).clamp(0, top)
    return codes, scale.bfloat16().float(), bias.bfloat16().float()


def rounded(groups: torch.Tensor, bits: int) -> torch.Tensor:
    """[n, GROUP] as it reads back after quantisation."""
    codes, scale, bias = affine(groups, bits)
    return scale * codes + bias


def kind(name: str) -> str:
    """How a parameter of the transformers model is stored: 4-bit, 8-bit, norm (1 + w), bf16 or f32."""
    if name.endswith(("mlp.gate.weight", "shared_expert_gate.weight")):
        return "8-bit"
    if name.endswith("A_log"):
        return "f32"
    if name.endswith(("dt_bias", "conv1d.weight", "linear_attn.norm.weight")):
        return "bf16"
    return "norm" if name.endswith("norm.weight") else "4-bit"


class Stored:
    """Rounds a whole set of parameters to what the checkpoint will hold, all groups of one width at once."""

    def __init__(self, names: list[str], compiled: bool):
        self.kinds = [kind(name) for name in names]
        self.rounded = torch.compile(rounded) if compiled else rounded

    @torch.no_grad()
    def write(self, masters: list[torch.Tensor], out: list[torch.Tensor]) -> None:
        """out[i] = masters[i] as stored; the shapes agree."""
        for bits in (4, 8):
            which = [i for i, k in enumerate(self.kinds) if k == f"{bits}-bit"]
            groups = self.rounded(torch.cat([masters[i].reshape(-1, GROUP) for i in which]), bits)
            parts = groups.split([masters[i].numel() // GROUP for i in which])
            torch._foreach_copy_([out[i] for i in which], [p.view(masters[i].shape) for p, i in zip(parts, which)])
        for i, k in enumerate(self.kinds):
            if k == "f32":
                out[i].copy_(masters[i])
            elif k == "bf16":
                out[i].copy_(masters[i].bfloat16())
            elif k == "norm":
                out[i].copy_((masters[i] + 1).bfloat16().float() - 1)
