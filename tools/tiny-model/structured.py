"""JSON objects that fit a small schema given in the prompt."""

import json

from words import Source

TYPES = ("string", "string", "string", "integer", "integer", "number", "boolean", "array")


def draw_value(source: Source, kind: str):
    if kind == "string":
        return source.name() if source.chance(0.5) else source.phrase()
    if kind == "integer":
        return source.integer()
    if kind == "number":
        return float(source.decimal())
    if kind == "boolean":
        return source.chance(0.5)
    return source.terms(1, 3)


def schema_of(kind: str) -> dict:
    return {"type": "array", "items": {"type": "string"}} if kind == "array" else {"type": kind}


def spoken(value) -> str:
    """The value as a user would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " and ".join(value)
    return str(value)


def draw_object(source: Source) -> tuple[dict, dict]:
    """A schema with one to four properties and an object that fits it."""
    keys = source.distinct(source.key, source.pick((1, 2, 2, 3, 3, 4)))
    if source.second and len(keys) > 1 and source.chance(0.1):  # a key that begins like another
        keys[1] = f"{keys[0]}_{keys[1]}"
    kinds = {k: source.pick(TYPES) for k in keys}
    schema = {"type": "object", "properties": {k: schema_of(kinds[k]) for k in keys}, "required": keys}
    return schema, {k: draw_value(source, kinds[k]) for k in keys}


def listed(source: Source, fields: dict) -> str:
    """The fields in prose, in random order."""
    keys = list(fields)
    if source.chance(0.3):
        source.rng.shuffle(keys)
    form = source.pick(("{k} is {v}", "{k}: {v}", "{k} = {v}", "{k} {v}"))
    quote = source.chance(0.3)
    parts = []
    for k in keys:
        v = fields[k]
        lone = isinstance(v, str) and not quote and " " not in v
        parts.append(form.format(k=k, v=spoken(v) if lone or not isinstance(v, str) else f'"{v}"'))
    return source.pick(("; ", ", ", "\n")).join(parts) if len(parts) > 1 else parts[0]


def json_object(source: Source) -> dict:
    schema, fields = draw_object(source)
    text, values = json.dumps(schema, ensure_ascii=False), listed(source, fields)
    answer = {"content": json.dumps(fields, ensure_ascii=False), "schema": schema, "object": fields}
    if source.chance(0.2):
        system = source.pick(("Answer with a JSON object that fits this schema:\n", "Reply in JSON. Schema: ")) + text
        return {"system": system, "user": values, **answer}
    user = source.pick(
        (
            "Write a JSON object that fits this schema: {s}\n{v}",
            "Schema: {s}\nValues: {v}",
            "{v}\nGive me this as JSON with the schema {s}",
            "Fill this JSON schema: {s}\n{v}",
            "Make JSON for: {v}\nSchema:\n{s}",
        )
    ).format(s=text, v=values)
    return {"user": user, **answer}
