"""Trains the tiny model: transformers' own qwen3_5_moe class, AdamW, and quantisation in the loop at the end.

The last part of the run computes with the weights as the 4-bit checkpoint will store them, while gradients go to the
float32 masters (straight through), so that conversion afterwards changes nothing that was learnt.

  python train.py --tokenizer tokenizer.json --out FOLDER [--steps N] [--seconds S]
"""

import argparse
import json
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import data
import fast
from architecture import new_model
from quant import Stored


@dataclass
class Recipe:
    seed: int = 7
    steps: int = 9000
    tokens: int = 32_256  # positions a batch; a multiple of every length in data.LENGTHS
    peak_rate: float = 2e-3
    warmup: int = 300
    decay: float = 0.1
    clip: float = 1.0
    balance: float = 0.01  # weight of the router's load-balancing loss
    prompt_weight: float = 0.2  # of predicting the prompt, falling to 0 …
    prompt_until: float = 0.3  # … at this part of the run
    quantised_from: float = 0.6  # part of the run after which the stored weights are used


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


class Routers:
    """Collects the router logits of a forward pass and scores how evenly the experts are used (1 = evenly)."""

    def __init__(self, model):
        self.logits: list[torch.Tensor] = []
        self.chosen = model.config.num_experts_per_tok
        for layer in model.model.layers:
            layer.mlp.gate.register_forward_hook(lambda module, inputs, output: self.logits.append(output[0]))

    def balance(self, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean of E * sum(share of tokens * share of probability), and the smallest share of an expert times E."""
        p = torch.softmax(torch.stack(self.logits).float(), -1)
        self.logits.clear()
        experts = p.shape[-1]
        used = torch.zeros_like(p).scatter_(2, p.topk(self.chosen, -1).indices, 1.0) * real[:, None]
        share = used.sum(1) / (real.sum() * self.chosen)
        mean = (p * real[:, None]).sum(1) / real.sum()
        return experts * (share * mean).sum(-1).mean(), experts * share.min()


def weighted_loss(hidden, head, targets, answer, ask, prompt_weight):
    """Cross-entropy over completions plus `prompt_weight` times that over prompts."""
    losses = F.cross_entropy(F.linear(hidden, head).float(), targets, reduction="none")
    on_answer = (losses * answer).sum() / answer.sum()
    return on_answer + prompt_weight * (losses * ask).sum() / ask.sum(), on_answer


def save(masters: dict[str, torch.Tensor], folder: Path, parts: int = 3) -> None:
    """The masters in half precision, in `parts` files of like size: enough to go on from, small enough to carry."""
    names, size = list(masters), sum(t.numel() for t in masters.values()) / parts
    split, held = [{} for _ in range(parts)], 0
    for name in names:
        split[min(int(held / size), parts - 1)][name] = masters[name].half().cpu().contiguous()
        held += masters[name].numel()
    for i, tensors in enumerate(split):
        save_file(tensors, str(folder / f"masters-{i}.safetensors"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop early after this long")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    arguments = parser.parse_args()
    recipe = Recipe(**{name: getattr(arguments, name) for name in asdict(Recipe())})
    arguments.out.mkdir(parents=True, exist_ok=True)

    stream = data.batches(arguments.tokenizer, recipe.seed, recipe.tokens, arguments.workers)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(recipe.seed)
    print("against the reference:", fast.check(device), flush=True)
    torch.set_float32_matmul_precision("high")
    model = new_model(experts="dense").to(device).train()
    start_time_steps(model)
    compiled = not arguments.eager
    fast.install(compiled)
    loss_of = torch.compile(weighted_loss) if compiled else weighted_loss
    routers = Routers(model)

    names, live = zip(*model.named_parameters())
    masters = [p.detach().clone() for p in live]
    stored = Stored(list(names), compiled)
    groups = [
        {"params": [m for m, n in zip(masters, names) if m.dim() > 1 and "conv1d" not in n], "weight_decay": recipe.decay},
        {"params": [m for m, n in zip(masters, names) if m.dim() == 1 or "conv1d" in n], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.peak_rate, betas=(0.9, 0.95), eps=1e-10, fused=device == "cuda")

    log = (arguments.out / "log.jsonl").open("w")
    begun = last = time.time()
    step = tokens = 0
    while step < recipe.steps and time.time() - begun < arguments.seconds:
        ids, answer, ask = (torch.from_numpy(a).to(device, non_blocking=True) for a in next(stream))
        part = step / recipe.steps
        with torch.autocast(device, dtype=torch.bfloat16):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
            prompt_weight = recipe.prompt_weight * max(0.0, 1 - part / recipe.prompt_until)
            loss, on_answer = loss_of(
                hidden.reshape(-1, hidden.shape[-1]),
                model.lm_head.weight,
                torch.roll(ids, -1, 1).reshape(-1),
                answer.reshape(-1),
                ask.reshape(-1),
                torch.tensor(prompt_weight, device=device),
            )
            balance, least = routers.balance((ids != data.PAD_ID).float().reshape(-1))
        (loss + recipe.balance * balance).backward()
        for master, p in zip(masters, live):
            master.grad, p.grad = p.grad, None
        norm = torch.nn.utils.clip_grad_norm_(masters, recipe.clip)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(recipe, step)
        optimizer.step()
        with torch.no_grad():
            if part >= recipe.quantised_from:
                stored.write(masters, list(live))
            else:
                torch._foreach_copy_(list(live), masters)
        step, tokens = step + 1, tokens + ids.numel()
        if step % 50 == 0 or step == recipe.steps:
            now = time.time()
            line = {
                "step": step,
                "loss": round(on_answer.item(), 5),
                "balance": round(balance.item(), 3),
                "least_used": round(least.item(), 3),
                "norm": round(norm.item(), 3),
                "seconds": round(now - begun, 1),
                "step_ms": round((now - last) * 20, 1),
            }
            last = now
            print(json.dumps(line), file=log, flush=True)
            if step % 250 == 0 or step == 50 or step == recipe.steps:
                print(json.dumps(line), flush=True)
        if step % 2000 == 0:
            save(dict(zip(names, masters)), arguments.out)
    save_file({n: m.cpu() for n, m in zip(names, masters)}, str(arguments.out / "masters.safetensors"))
    save(dict(zip(names, masters)), arguments.out)
    summary = {"recipe": asdict(recipe), "steps": step, "tokens": tokens, "seconds": round(time.time() - begun, 1)}
    (arguments.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
