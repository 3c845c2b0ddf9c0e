"""Conversations to text through the chat template, in the environment that transformers gives a template."""

import json
from functools import cache
from pathlib import Path

from jinja2 import Environment

TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def refuse(message: str):
    raise ValueError(message)


@cache
def template():
    environment = Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = refuse
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def prompt(messages: list[dict], tools: list[dict] | None = None, thinking: bool = True) -> str:
    return template().render(messages=messages, tools=tools, add_generation_prompt=True, enable_thinking=thinking)


def prompt_and_completion(sample: dict) -> tuple[str, str]:
    """The prompt as the model will see it and the text that must follow, `<|im_end|>` included."""
    tools = sample.get("tools")
    before = prompt(sample["messages"], tools, sample["thinking"])
    answer = dict(sample["answer"])
    if not sample["thinking"]:
        answer.pop("reasoning_content", None)
    whole = template().render(messages=[*sample["messages"], answer], tools=tools).removesuffix("\n")
    if not whole.startswith(before):
        raise ValueError(f"the answer does not continue its prompt: {before!r}")
    return before, whole[len(before) :]
