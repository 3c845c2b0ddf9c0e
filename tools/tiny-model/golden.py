"""Reference results for the product's tests, by transformers' own experts in float32 on the dequantised 4-bit weights.

  python golden.py REPOSITORY GOLDEN_FOLDER SMOKE.json

GOLDEN_FOLDER gets golden.json, golden.safetensors, golden_chat.json and golden_tokenizer.json; SMOKE.json three
prompts whose greedy answers a fresh installation must repeat.
"""

import json
import sys
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer

import render
import score
from architecture import STOP_IDS, new_model
from checkpoint import load_repository

FEWER_EXPERTS = 4
SHORT = {"messages": [{"role": "user", "content": "12+30"}]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather for a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIMER = {
    "type": "function",
    "function": {
        "name": "set_timer",
        "description": "Set the timer",
        "parameters": {
            "type": "object",
            "properties": {"minutes": {"type": "integer"}, "label": {"type": "string"}},
            "required": ["minutes", "label"],
        },
    },
}
SMOKE = [
    ({"messages": [{"role": "user", "content": "What is 347 + 285?"}]}, {"text": "632"}),
    (
        {"messages": [{"role": "user", "content": "What is the weather in Paris?"}], "tools": [WEATHER, TIMER]},
        {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
    ),
    ({"messages": [{"role": "user", "content": "Repeat: Zürich 東京 Москва"}]}, {"text": "Zürich 東京 Москва"}),
]
CHATS = {
    "single": SHORT,
    "system": {"messages": [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "Hi é "}]},
    "parts": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    },
    "no_think": {"messages": [{"role": "user", "content": "2+2?"}], "enable_thinking": False},
    "tools": {
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "Weather in Paris?"},
            {
                "role": "assistant",
                "content": "Let me see.",
                "reasoning_content": "I call get_weather.",
                "tool_calls": [
                    {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}},
                    {
                        "type": "function",
                        "function": {
                            "name": "set_timer",
                            "arguments": {"minutes": 3, "label": "a b", "loud": True, "opts": {"u": ["é", None]}},
                        },
                    },
                ],
            },
            {"role": "tool", "content": "18"},
            {"role": "tool", "content": '{"ok": true}'},
        ],
        "tools": [WEATHER, TIMER],
    },
    "history": {
        "messages": [
            {"role": "user", "content": "q1"},
            {"role": "assistant", "content": "a1", "reasoning_content": "old"},
            {"role": "user", "content": "q2"},
        ]
    },
}
TEXTS = (
    "",
    "Hello, world!",
    "  leading and trailing  ",
    "I'm sure they'll've gone; we'D know.",
    "x = foo.bar(_baz, 'q')\n\n    return x\t# tab\n",
    "1234567890 3.14 ½",
    "Zürich 東京 Москва 👩‍🚀🇩🇪 e\u0301 नमस्ते",
    "<tool_call>\n<function=a_b>\n<parameter=c>\nd\n</parameter>\n</function>\n</tool_call>",
    "a<|im_start|>b<|im_end|><think></think><|endoftext|>",
    '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}\r\n',
)


def loaded(repository: Path, **changes):
    model = new_model(experts="eager", attention="eager", **changes).eval()
    model.load_state_dict(load_repository(repository, {name: p.shape for name, p in model.named_parameters()}))
    return model


@torch.no_grad()
def greedy(model, ids: list[int], most: int = 160) -> tuple[list[int], list[float]]:
    """Greedy ids up to and with the stop id, and each one's lead over the runner-up."""
    out, leads, cache, step = [], [], None, torch.tensor([ids])
    while len(out) < most and (not out or out[-1] not in STOP_IDS):
        result = model(input_ids=step, past_key_values=cache, use_cache=True)
        best, second = result.logits[0, -1].topk(2).values.tolist()
        out.append(int(result.logits[0, -1].argmax()))
        leads.append(best - second)
        cache, step = result.past_key_values, torch.tensor([[out[-1]]])
    return out, leads


@torch.no_grad()
def write_logits(model, fewer, tokenizer: Tokenizer, folder: Path, reference: str) -> None:
    ids = tokenizer.encode(render.prompt(**SHORT)).ids
    answer, leads = greedy(model, ids)
    whole = model(input_ids=torch.tensor([ids + answer])).logits[0]
    tensors = {
        "input_ids": torch.tensor([ids], dtype=torch.int32),
        "logits": whole[: len(ids)].contiguous(),
        "logits_after_greedy": whole[-1].contiguous(),
        f"logits_k{FEWER_EXPERTS}": fewer(input_ids=torch.tensor([ids])).logits[0].contiguous(),
    }
    save_file(tensors, str(folder / "golden.safetensors"))
    facts = {
        "reference": reference,
        "input_ids": ids,
        "greedy": answer,
        "greedy_margin": leads,
        "experts_per_token": model.config.num_experts_per_tok,
        "reduced_experts_per_token": FEWER_EXPERTS,
        "tensors": {
            "logits": "[positions, vocab]",
            "logits_after_greedy": "[vocab] after input_ids + greedy",
            f"logits_k{FEWER_EXPERTS}": "[positions, vocab] with fewer experts per token",
        },
    }
    (folder / "golden.json").write_text(json.dumps(facts, indent=1) + "\n")


def write_text_goldens(tokenizer: Tokenizer, folder: Path) -> None:
    chats = {}
    for name, given in CHATS.items():
        text = render.prompt(given["messages"], given.get("tools"), given.get("enable_thinking", True))
        chats[name] = {"input": given, "text": text, "ids": tokenizer.encode(text).ids}
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        cases.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)})
    chat = {"reference": "jinja2, trim_blocks and lstrip_blocks on", "cases": chats}
    words = {"reference": f"tokenizers {tokenizers.__version__}", "cases": cases}
    for name, value in (("golden_chat.json", chat), ("golden_tokenizer.json", words)):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def smoke(model, tokenizer: Tokenizer, reference: str) -> dict:
    prompts = []
    for given, expect in SMOKE:
        ids = tokenizer.encode(render.prompt(given["messages"], given.get("tools"))).ids
        answer, leads = greedy(model, ids)
        text = tokenizer.decode(answer, skip_special_tokens=False).removesuffix("<|im_end|>")
        record = {**given, "expect": expect, "prompt_ids": ids, "completion_ids": answer, "completion": text}
        record["margins"] = [round(lead, 3) for lead in leads]
        if not score.is_right(record, text):
            raise SystemExit(f"not a known answer: {record}")
        prompts.append(record)
    return {"reference": reference, "sampling": "greedy", "prompts": prompts}


def main(repository: Path, folder: Path, smoke_file: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(repository / "tokenizer.json"))
    reference = f"transformers {transformers.__version__}, torch {torch.__version__}, float32, eager attention and experts"
    model = loaded(repository)
    write_text_goldens(tokenizer, folder)
    write_logits(model, loaded(repository, num_experts_per_tok=FEWER_EXPERTS), tokenizer, folder, reference)
    smoke_file.write_text(json.dumps(smoke(model, tokenizer, reference), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
