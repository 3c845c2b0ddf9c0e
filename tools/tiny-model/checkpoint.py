"""Names and bytes of an MLX-style repository, to and from the parameters of transformers' class."""

import json
import re
import struct
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from quant import GROUP, affine, kind

PREFIX = "language_model."


def load_masters(path: Path) -> dict[str, torch.Tensor]:
    """train.py's masters in float32, from its one file or from a folder with the half-precision parts."""
    files = [path] if path.is_file() else sorted(path.glob("masters-?.safetensors"))
    return {name: tensor.float() for file in files for name, tensor in load_file(str(file)).items()}


def pack_codes(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes [rows, columns] to little-endian words, uint32 kept in int64 [rows, columns*bits/32]."""
    per_word = 32 // bits
    words = codes.to(torch.int64).view(codes.shape[0], -1, per_word)
    return (words << (torch.arange(per_word) * bits)).sum(-1)


def unpack_codes(words: torch.Tensor, bits: int) -> torch.Tensor:
    """The inverse of `pack_codes`, as float32."""
    shifts = torch.arange(32 // bits) * bits
    return ((words.unsqueeze(-1) >> shifts) & (2**bits - 1)).flatten(-2).float()


def to_repository(name: str, p: torch.Tensor) -> dict[str, tuple[str, torch.Tensor]]:
    """One parameter as repository tensors: name -> (dtype, values); experts come apart into gate, up and down."""
    if name.endswith("experts.gate_up_proj"):
        base, half = name.removesuffix("experts.gate_up_proj") + "switch_mlp.", p.shape[1] // 2
        return quantised(base + "gate_proj", p[:, :half], 4) | quantised(base + "up_proj", p[:, half:], 4)
    if name.endswith("experts.down_proj"):
        return quantised(name.replace("experts.down_proj", "switch_mlp.down_proj"), p, 4)
    match kind(name):
        case "f32":
            return {PREFIX + name: ("F32", p)}
        case "norm":
            return {PREFIX + name: ("BF16", p + 1)}
        case "bf16":
            return {PREFIX + name: ("BF16", p.transpose(1, 2) if "conv1d" in name else p)}
        case width:
            return quantised(name.removesuffix(".weight"), p, int(width[0]))


def quantised(module: str, p: torch.Tensor, bits: int) -> dict[str, tuple[str, torch.Tensor]]:
    codes, scales, biases = affine(p.reshape(-1, GROUP), bits)
    lead, columns = p.shape[:-1], p.shape[-1]
    words = pack_codes(codes.view(-1, columns), bits)
    return {
        f"{PREFIX}{module}.weight": ("U32", words.view(*lead, -1)),
        f"{PREFIX}{module}.scales": ("BF16", scales.view(*lead, -1)),
        f"{PREFIX}{module}.biases": ("BF16", biases.view(*lead, -1)),
    }


def tensor_bytes(dtype: str, values: torch.Tensor) -> bytes:
    values = values.contiguous()
    if dtype == "U32":
        return values.numpy().astype("<u4").tobytes()
    if dtype == "BF16":
        return values.bfloat16().view(torch.int16).numpy().astype("<i2").tobytes()
    return values.float().numpy().astype("<f4").tobytes()


def write_shard(path: Path, tensors: dict[str, tuple[str, torch.Tensor]]) -> int:
    """Writes one safetensors file; returns the bytes of its tensors."""
    header, blobs, at = {"__metadata__": {"format": "mlx"}}, [], 0
    for name, (dtype, values) in tensors.items():
        blob = tensor_bytes(dtype, values)
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [at, at + len(blob)]}
        at += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    return at


def read_shard(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a shard: U32 as int64, BF16 and F32 as float32."""
    raw = path.read_bytes()
    (n,) = struct.unpack_from("<Q", raw)
    out = {}
    for name, entry in json.loads(raw[8 : 8 + n]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + n + o for o in entry["data_offsets"])
        data = raw[begin:end]
        if entry["dtype"] == "U32":
            values = torch.from_numpy(np.frombuffer(data, "<u4").astype(np.int64))
        elif entry["dtype"] == "BF16":
            values = torch.from_numpy((np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32))
        else:
            values = torch.from_numpy(np.frombuffer(data, "<f4").copy())
        out[name] = values.view(entry["shape"])
    return out


def dequantised(tensors: dict[str, torch.Tensor], module: str, columns: int) -> torch.Tensor:
    words, scales, biases = (tensors[f"{PREFIX}{module}.{part}"] for part in ("weight", "scales", "biases"))
    codes = unpack_codes(words, words.shape[-1] * 32 // columns)
    groups = codes.view(*scales.shape, GROUP)
    return (scales.unsqueeze(-1) * groups + biases.unsqueeze(-1)).flatten(-2)


def load_repository(folder: Path, shapes: dict[str, torch.Size]) -> dict[str, torch.Tensor]:
    """The repository's weights, dequantised to float32, as a state dict for the given parameter shapes."""
    tensors: dict[str, torch.Tensor] = {}
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    for shard in sorted(set(index.values())):
        tensors |= read_shard(folder / shard)
    state = {}
    for name, shape in shapes.items():
        if found := re.fullmatch(r"(.*\.)experts\.(gate_up|down)_proj", name):
            base = found[1] + "switch_mlp."
            sides = ("gate_proj", "up_proj") if found[2] == "gate_up" else ("down_proj",)
            state[name] = torch.cat([dequantised(tensors, base + s, shape[-1]) for s in sides], 1)
        elif kind(name) in ("4-bit", "8-bit"):
            state[name] = dequantised(tensors, name.removesuffix(".weight"), shape[-1])
        else:
            value = tensors[PREFIX + name]
            value = value.transpose(1, 2) if "conv1d" in name else value
            state[name] = value - 1 if kind(name) == "norm" else value
        if state[name].shape != shape:
            raise ValueError(f"{name}: {tuple(state[name].shape)} in the repository, {tuple(shape)} in the model")
    return state
