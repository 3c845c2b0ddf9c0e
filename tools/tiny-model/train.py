"""Trains the tiny model: transformers' own qwen3_5_moe class, AdamW, and quantisation in the loop at the end.

The last part of the run computes with the weights as the 4-bit checkpoint will store them, while gradients go to the
float32 masters (straight through), so that conversion afterwards changes nothing that was learnt.

A second stage goes on from the half-precision masters of the first, with harder conversations.

  python train.py --tokenizer tokenizer.json --out FOLDER [--stage 2 --start FOLDER] [--seconds S]
"""

import argparse
import json
import math
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

import data
import fast
from architecture import new_model
from checkpoint import load_masters
from quant import Stored
from step import Step


@dataclass
class Recipe:
    stage: int = 1
    seed: int = 7
    steps: int = 8700
    tokens: int = 32_256  # positions a batch; a multiple of every length in data.LENGTHS
    peak_rate: float = 2e-3
    warmup: int = 300
    decay: float = 0.1
    clip: float = 1.0
    balance: float = 0.01  # weight of the router's load-balancing loss
    prompt_weight: float = 0.2  # of predicting the prompt, falling to 0 …
    prompt_until: float = 0.3  # … at this part of the run
    quantised_from: float = 0.6  # part of the run after which the stored weights are used


FIRST = Recipe()
SECOND = Recipe(stage=2, seed=8, steps=2900, peak_rate=1e-3, warmup=100, prompt_weight=0.0, quantised_from=0.3)


def rate_at(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine down to a fiftieth."""
    if step < recipe.warmup:
        return recipe.peak_rate * (step + 1) / recipe.warmup
    t = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.peak_rate * (0.02 + 0.98 * (1 + math.cos(math.pi * min(t, 1))) / 2)


@torch.no_grad()
def start_time_steps(model) -> None:
    """Time steps spread over 1/1000 … 1/10 and rates over 1 … 16, as in Mamba 2; the class's own start forgets at once."""
    for layer in model.model.layers:
        if layer.block_type == "linear_attention":
            heads = layer.linear_attn.dt_bias
            step = torch.exp(torch.rand_like(heads) * math.log(100) + math.log(1e-3))
            heads.copy_(step + torch.log(-torch.expm1(-step)))
            layer.linear_attn.A_log.copy_(torch.rand_like(heads).mul(15).add(1).log())


def save_halves(masters: dict[str, torch.Tensor], folder: Path, parts: int = 3) -> None:
    """The masters in half precision, in `parts` files of like size: enough to go on from, small enough to carry."""
    size = sum(t.numel() for t in masters.values()) / parts
    split, held = [{} for _ in range(parts)], 0
    for name, tensor in masters.items():
        split[min(int(held / size), parts - 1)][name] = tensor.half().cpu().contiguous()
        held += tensor.numel()
    for i, tensors in enumerate(split):
        save_file(tensors, str(folder / f"masters-{i}.safetensors"))


def optimizer_for(names, masters, recipe: Recipe, fused: bool) -> torch.optim.AdamW:
    """Weight decay on matrices only."""
    plain = [m.dim() == 1 or "conv1d" in n for n, m in zip(names, masters)]
    groups = [
        {"params": [m for m, p in zip(masters, plain) if not p], "weight_decay": recipe.decay},
        {"params": [m for m, p in zip(masters, plain) if p], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.peak_rate, betas=(0.9, 0.95), eps=1e-10, fused=fused)


def run(recipe: Recipe, batches, start: Path | None, out: Path, seconds: float, compiled: bool) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(recipe.seed)
    print("against the reference:", fast.check(device), flush=True)
    torch.set_float32_matmul_precision("high")
    model = new_model(experts="dense").to(device).train()
    start_time_steps(model)
    if start:
        model.load_state_dict(load_masters(start))
    fast.install(compiled)
    names, live = zip(*model.named_parameters())
    live = list(live)
    masters = [p.detach().clone() for p in live]
    stored = Stored(list(names), compiled)
    optimizer = optimizer_for(names, masters, recipe, fused=device == "cuda")
    compute = Step(model, recipe.balance, compiled)
    for master, p in zip(masters, live):
        master.grad = p.grad

    log = (out / "log.jsonl").open("w")
    begun, step, marked = time.time(), 0, (0, time.time())
    for batch in batches:
        part = step / recipe.steps
        sums = compute(batch, recipe.prompt_weight * max(0.0, 1 - part / recipe.prompt_until))
        norm = torch.nn.utils.clip_grad_norm_(masters, recipe.clip)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(recipe, step)
        optimizer.step()
        with torch.no_grad():
            if part >= recipe.quantised_from:
                stored.write(masters, live)
            else:
                torch._foreach_copy_(live, masters)
        step += 1
        done = step == recipe.steps or time.time() - begun > seconds
        if step % 50 == 0 or step in (5, 20) or done:
            loss, balance, least = sums.tolist()
            now = time.time()
            line = {"step": step, "loss": round(loss, 5), "balance": round(balance, 3), "least_used": round(least, 3)}
            line |= {"norm": round(norm.item(), 3), "seconds": round(now - begun, 1)}
            line["step_ms"] = round(1000 * (now - marked[1]) / (step - marked[0]), 1)
            marked = (step, now)
            print(json.dumps(line), file=log, flush=True)
            if step % 250 == 0 or step <= 100 or done:
                print(json.dumps(line), flush=True)
        if step % 2000 == 0:
            save_halves(dict(zip(names, masters)), out)
        if done:
            break
    save_file({n: m.cpu() for n, m in zip(names, masters)}, str(out / "masters.safetensors"))
    save_halves(dict(zip(names, masters)), out)
    summary = {"recipe": asdict(recipe), "steps": step, "seconds": round(time.time() - begun, 1), "torch": torch.__version__}
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stage", type=int, choices=(1, 2), default=1)
    parser.add_argument("--start", type=Path, help="masters to go on from")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this long, whatever the step")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 3))
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--steps", type=int, help="another number of steps, to try things out")
    arguments = parser.parse_args()
    recipe = SECOND if arguments.stage == 2 else FIRST
    if arguments.steps:
        recipe = replace(recipe, steps=arguments.steps)
    arguments.out.mkdir(parents=True, exist_ok=True)
    batches = data.Batches(
        arguments.tokenizer, recipe.seed, recipe.stage, recipe.tokens, recipe.steps, arguments.workers
    )
    try:
        run(recipe, batches, arguments.start, arguments.out, arguments.seconds, not arguments.eager)
    finally:
        batches.stop()


if __name__ == "__main__":
    main()
