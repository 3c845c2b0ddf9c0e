"""Conversations of the tiny model's skills, for training and for evaluation. Pure Python, no outside text.

A sample is {skill, messages, tools?, thinking, answer}: `messages` ends with the turn to be answered, `answer`
is the assistant message expected next (reasoning_content, content, tool_calls).

  python generate.py eval ../../models/tiny-eval    writes the held-back prompts, one JSONL file a skill
  python generate.py eval FOLDER SEED               others, which no choice of the recipe has seen
  python generate.py show 12 [skill]                prints samples
"""

import json
import sys
from pathlib import Path
from random import Random

import arithmetic
import chat
import facts
import structured
import text
import tools
from words import Source

# name: (draws, share of the mixture in the first and the second stage of training)
SKILLS = {
    "add": (arithmetic.add, 0.09, 0.05),
    "subtract": (arithmetic.subtract, 0.10, 0.08),
    "copy": (text.copy, 0.10, 0.07),
    "reverse": (text.reverse, 0.08, 0.05),
    "count": (text.count, 0.06, 0.04),
    "unicode": (text.unicode, 0.08, 0.06),
    "facts": (facts.facts, 0.13, 0.22),
    "json": (structured.json_object, 0.12, 0.12),
    "tool_call": (tools.call, 0.14, 0.22),
    "tool_result": (tools.result, 0.07, 0.06),
    "chat": (chat.chat, 0.03, 0.03),
}
EVAL_SEED = 20_251_121
EVAL_PROMPTS = 200
SYSTEM = (
    "You are a helpful assistant.",
    "You are flashmoe tiny.",
    "You are a helpful assistant. Answer briefly.",
    "Be brief.",
    "You are a careful assistant that answers exactly what is asked.",
)
PLAIN = ("add", "subtract", "copy", "reverse", "count", "unicode", "facts")


def assistant(drawn: dict) -> dict:
    message = {"role": "assistant", "content": drawn["content"]}
    if drawn.get("reasoning"):
        message["reasoning_content"] = drawn["reasoning"]
    if drawn.get("tool_calls"):
        message["tool_calls"] = drawn["tool_calls"]
    return message


def turns(drawn: dict) -> list[dict]:
    """The messages of one draw, without its answer."""
    messages = [{"role": "user", "content": drawn["user"]}]
    if called := drawn.get("called"):
        messages += [
            {"role": "assistant", "content": "", "reasoning_content": called["reasoning"], "tool_calls": called["tool_calls"]},
            {"role": "tool", "content": called["result"]},
        ]
    return messages


def sample(source: Source, skill: str) -> dict:
    """One conversation: mostly a single exchange, sometimes with a system text, idle tools or a history."""
    drawn = SKILLS[skill][0](source)
    messages, offered = turns(drawn), drawn.get("tools")
    if skill in PLAIN:
        if source.chance(0.06):
            messages = history(source) + messages
        if source.chance(0.05):
            offered = tools.call(source)["tools"]
    system = drawn.get("system")
    if not system and source.chance(0.12):
        system = source.pick(SYSTEM) if source.chance(0.6) else " ".join(source.terms(3, 9)).capitalize() + "."
    if system:
        messages = [{"role": "system", "content": system}] + messages
    out = {"skill": skill, "messages": messages, "thinking": source.test or not source.chance(0.15), "answer": assistant(drawn)}
    if offered:
        out["tools"] = offered
    for key in ("schema", "object"):
        if key in drawn:
            out[key] = drawn[key]
    return out


def history(source: Source) -> list[dict]:
    """One or two earlier exchanges."""
    earlier = []
    for _ in range(source.pick((1, 1, 2))):
        drawn = SKILLS[source.pick(("add", "subtract", "copy", "count", "chat"))][0](source)
        earlier += [*turns(drawn), {"role": "assistant", "content": drawn["content"]}]
    return earlier


def training_samples(seed: int, n: int, stage: int = 1):
    """`n` samples of the training split; the same seed gives the same samples."""
    rng = Random(seed)
    source = Source(rng, test=False, stage=stage)
    names = list(SKILLS)
    weights = [shares[stage - 1] for _, *shares in SKILLS.values()]
    for skill in rng.choices(names, weights, k=n):
        yield sample(source, skill)


def eval_samples(skill: str, n: int = EVAL_PROMPTS, seed: int = EVAL_SEED) -> list[dict]:
    """`n` different prompts of the test split."""
    source = Source(Random(f"{seed} {skill}"), test=True)
    found: dict[str, dict] = {}
    while len(found) < n:
        drawn = sample(source, skill)
        found.setdefault(json.dumps([drawn["messages"], drawn.get("tools")]), drawn)
    return list(found.values())


def eval_record(number: int, drawn: dict) -> dict:
    """The form that is shipped: what to ask and what counts as right."""
    answer = drawn["answer"]
    record = {"id": f"{drawn['skill']}-{number:03}", "messages": drawn["messages"]}
    if "tools" in drawn:
        record["tools"] = drawn["tools"]
    if calls := answer.get("tool_calls"):
        record["expect"] = {"calls": [c["function"] for c in calls]}
    elif "object" in drawn:
        record["expect"] = {"object": drawn["object"], "schema": drawn["schema"]}
    else:
        record["expect"] = {"text": answer["content"]}
    return record


def write_eval(folder: Path, seed: int = EVAL_SEED) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for skill in SKILLS:
        samples = eval_samples(skill, seed=seed)
        lines = (json.dumps(eval_record(i, s), ensure_ascii=False) for i, s in enumerate(samples))
        (folder / f"{skill}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> None:
    match arguments:
        case ["eval", folder]:
            write_eval(Path(folder))
        case ["eval", folder, seed]:
            write_eval(Path(folder), int(seed))
        case ["show", n, *only]:
            samples = training_samples(1, int(n) * (len(SKILLS) if only else 1))
            for s in samples:
                if not only or s["skill"] in only:
                    print(json.dumps(s, ensure_ascii=False, indent=1))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
