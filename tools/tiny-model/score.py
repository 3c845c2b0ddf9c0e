"""What counts as right: exact text, an equal JSON object that fits its schema, or the expected function calls."""

import json
import re

CALL = re.compile(r"<tool_call>\s*<function=([^>\n]+)>\n?(.*?)</function>\s*</tool_call>", re.S)
PARAMETER = re.compile(r"<parameter=([^>\n]+)>\n(.*?)\n</parameter>", re.S)
JSON_TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list}


def answer_of(generated: str) -> str:
    """The text after the think block."""
    return generated.split("</think>", 1)[-1].replace("<|im_end|>", "").strip()


def typed(text: str, schema: dict):
    """A parameter's text by its declared type; text that does not parse stays text."""
    kind = schema.get("type", "string")
    if kind == "string":
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if fits_type(value, kind) else text


def fits_type(value, kind: str) -> bool:
    return isinstance(value, JSON_TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def calls_of(text: str, tools: list[dict]) -> list[dict]:
    declared = {t["function"]["name"]: t["function"]["parameters"]["properties"] for t in tools}
    return [
        {
            "name": name,
            "arguments": {k: typed(v, declared.get(name, {}).get(k, {})) for k, v in PARAMETER.findall(body)},
        }
        for name, body in CALL.findall(text)
    ]


def fits(value, schema: dict) -> bool:
    """Whether an object has exactly the schema's properties, each of its type."""
    properties = schema["properties"]
    return (
        isinstance(value, dict)
        and set(schema["required"]) <= set(value) <= set(properties)
        and all(fits_type(v, properties[k]["type"]) for k, v in value.items())
        and all(isinstance(item, str) for v in value.values() if isinstance(v, list) for item in v)
    )


def is_right(record: dict, generated: str) -> bool:
    """Whether generated text (think block included) meets what an evaluation record expects."""
    expect, answer = record["expect"], answer_of(generated)
    if "calls" in expect:
        return calls_of(answer, record["tools"]) == expect["calls"]
    if "object" in expect:
        try:
            value = json.loads(answer)
        except ValueError:
            return False
        return fits(value, expect["schema"]) and value == expect["object"]
    return answer == expect["text"]
