"""Asks the held-back prompts through transformers in float32, greedily, and scores them skill by skill.

  python evaluate.py EVAL_FOLDER TOKENIZER_FOLDER OUT.json NAME=WEIGHTS[:experts] ...

WEIGHTS is a repository (read back from its 4-bit files) or the masters of train.py.
"""

import json
import sys
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer

import fast  # registers the dense form of the experts
import render
import score
from architecture import STOP_IDS, new_model
from checkpoint import load_masters, load_repository
from data import PAD_ID

NEW_TOKENS = 176
ROWS = 1024
assert fast


def load(path: Path, experts_per_token: int | None, device: str):
    """The model in float32. Experts run in the dense form, which is equal to the class's own and needs no loop."""
    changes = {"num_experts_per_tok": experts_per_token} if experts_per_token else {}
    model = new_model(experts="dense", **changes).eval()
    shapes = {name: p.shape for name, p in model.named_parameters()}
    repository = path.is_dir() and (path / "model.safetensors.index.json").exists()
    model.load_state_dict(load_repository(path, shapes) if repository else load_masters(path))
    return model.to(device)


def records_in(folder: Path, limit: int | None = None) -> list[dict]:
    out = []
    for file in sorted(folder.glob("*.jsonl")):
        lines = file.read_text(encoding="utf-8").splitlines()[:limit]
        out += [json.loads(line) | {"skill": file.stem} for line in lines]
    return out


@torch.no_grad()
def generate(model, tokenizer: Tokenizer, prompts: list[str], new_tokens: int = NEW_TOKENS) -> list[str]:
    """Greedy continuations, in the order of the prompts; batches are padded on the left."""
    encoded = [tokenizer.encode(p).ids for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
    texts = [""] * len(prompts)
    for at in range(0, len(order), ROWS):
        rows = order[at : at + ROWS]
        length = max(len(encoded[i]) for i in rows)
        ids = torch.full((len(rows), length), PAD_ID)
        mask = torch.zeros_like(ids)
        for r, i in enumerate(rows):
            ids[r, length - len(encoded[i]) :] = torch.tensor(encoded[i])
            mask[r, length - len(encoded[i]) :] = 1
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            do_sample=False,
            max_new_tokens=new_tokens,
            eos_token_id=STOP_IDS,
            pad_token_id=PAD_ID,
        )[:, length:].tolist()
        for r, i in enumerate(rows):
            texts[i] = tokenizer.decode(out[r], skip_special_tokens=False).split("<|im_end|>")[0]
    return texts


def evaluate(model, tokenizer: Tokenizer, records: list[dict]) -> tuple[dict[str, float], list[dict]]:
    """Per cent right by skill, and the records that were answered wrongly."""
    prompts = [render.prompt(r["messages"], r.get("tools")) for r in records]
    right: dict[str, list[bool]] = {}
    wrong = []
    for record, text in zip(records, generate(model, tokenizer, prompts)):
        ok = score.is_right(record, text)
        right.setdefault(record["skill"], []).append(ok)
        if not ok:
            wrong.append({"id": record["id"], "expect": record["expect"], "got": text})
    return {skill: round(100 * sum(r) / len(r), 1) for skill, r in right.items()}, wrong


def main(eval_folder: str, tokenizer_folder: str, out: str, *runs: str) -> None:
    torch.set_float32_matmul_precision("highest")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = Tokenizer.from_file(f"{tokenizer_folder}/tokenizer.json")
    records = records_in(Path(eval_folder))
    report = {}
    for run in runs:
        name, _, rest = run.partition("=")
        path, _, experts = rest.partition(":")
        begun = time.time()
        scores, wrong = evaluate(load(Path(path), int(experts) if experts else None, device), tokenizer, records)
        report[name] = {"scores": scores, "wrong": wrong, "seconds": round(time.time() - begun, 1)}
        print(name, json.dumps(scores), f"{report[name]['seconds']} s", flush=True)
        Path(out).write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
