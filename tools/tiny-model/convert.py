"""Writes the trained masters as an MLX-style 4-bit repository in three shards.

  python convert.py MASTERS TOKENIZER_FOLDER REPOSITORY

MASTERS is a masters.safetensors of train.py, or a folder with the half-precision masters-N.safetensors.
"""

import json
import shutil
import sys
from pathlib import Path

from architecture import LAYERS, STOP_IDS, TEXT_CONFIG
from checkpoint import PREFIX, load_masters, to_repository, write_shard
from render import TEMPLATE

SHARDS = 3


def quantization() -> dict:
    wide = {"group_size": 64, "bits": 8}
    gates = {
        f"{PREFIX}model.layers.{i}.mlp.{gate}": wide for i in range(LAYERS) for gate in ("gate", "shared_expert_gate")
    }
    return {"group_size": 64, "bits": 4, "mode": "affine", **gates}


def config() -> dict:
    block = quantization()
    return {
        "architectures": ["Qwen3_5MoeForConditionalGeneration"],
        "model_type": "qwen3_5_moe",
        "eos_token_id": STOP_IDS,
        "tie_word_embeddings": False,
        "text_config": TEXT_CONFIG,
        "quantization": block,
        "quantization_config": block,
    }


def write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def shards(tensors: dict) -> list[dict]:
    """Consecutive runs of tensors, in model order, of about the same size."""
    size = {"U32": 4, "BF16": 2, "F32": 4}
    total = sum(values.numel() * size[dtype] for dtype, values in tensors.values())
    out, held = [{} for _ in range(SHARDS)], 0
    for name, (dtype, values) in tensors.items():
        out[min(held * SHARDS // total, SHARDS - 1)][name] = (dtype, values)
        held += values.numel() * size[dtype]
    return out


def main(masters: Path, tokenizer: Path, repository: Path) -> None:
    repository.mkdir(parents=True, exist_ok=True)
    tensors: dict = {}
    for name, value in load_masters(masters).items():
        tensors |= to_repository(name, value)
    weight_map, total = {}, 0
    for i, shard in enumerate(shards(tensors), 1):
        file = f"model-{i:05}-of-{SHARDS:05}.safetensors"
        total += write_shard(repository / file, shard)
        weight_map |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(repository / "model.safetensors.index.json", index)
    write_json(repository / "config.json", config())
    # Its answers are exact or wrong; sampling would only make them worse.
    write_json(
        repository / "generation_config.json",
        {"bos_token_id": TEXT_CONFIG["bos_token_id"], "eos_token_id": STOP_IDS, "do_sample": False, "temperature": 0},
    )
    shutil.copy(TEMPLATE, repository / "chat_template.jinja")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (tokenizer / name).resolve() != (repository / name).resolve():
            shutil.copy(tokenizer / name, repository / name)
    print(f"{total} bytes of tensors in {SHARDS} shards")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
