"""Tool calls to functions declared in the prompt, and answers that use the result of a call."""

import json

from words import Source

PREPOSITIONS = ("in", "in", "for", "of", "at")
STATES = "sunny rainy cloudy windy cold warm hot dry wet open closed full empty busy free ready late early high low".split()


def typed_value(source: Source, schema: dict):
    if "enum" in schema:
        return source.pick(schema["enum"])
    kind = schema["type"]
    if kind == "integer":
        return source.integer()
    if kind == "number":
        return float(source.decimal())
    if kind == "boolean":
        return source.chance(0.5)
    return source.name() if source.chance(0.55) else source.phrase()


def parameter(source: Source, key: str, kind: str) -> dict:
    schema = {"type": kind}
    if kind == "string" and source.chance(0.08):
        schema["enum"] = source.distinct(source.word, source.rng.randint(2, 3))
    if source.chance(0.2):
        schema["description"] = source.pick((f"The {key}", key.replace("_", " ").capitalize(), f"{key} to use"))
    return schema


class Function:
    """A made-up function: `query` asks for a noun about one value, `action` does something with up to three."""

    def __init__(self, source: Source, query: bool, shared: "Function | None" = None):
        self.query = query
        self.verb = source.pick(("get", "get", "get", "find", "fetch", "check")) if query else source.verb()
        self.noun = source.noun()
        if shared and source.chance(0.6 if source.second else 0.4):  # one word in common, so that both words matter
            if source.chance(0.5):
                self.verb = shared.verb
            else:
                self.noun = shared.noun
        self.name = source.pick(("{v}_{n}", "{v}_{n}", "{v}_{n}", "{v}{N}", "{n}_{v}")).format(
            v=self.verb, n=self.noun, N=self.noun.capitalize()
        )
        if query:
            kinds = ["string"]
        else:
            kinds = [
                source.pick(("string", "string", "string", "integer", "integer", "number", "boolean"))
                for _ in range(source.pick((0, 1, 1, 2, 2, 2, 3)))
            ]
        extra = source.chance(0.12)  # an optional parameter that nobody asked for
        keys = source.distinct(source.key, len(kinds) + extra)
        kinds += [source.pick(("string", "integer", "boolean"))] * extra
        self.required = keys[: len(keys) - extra]
        self.parameters = {k: parameter(source, k, kind) for k, kind in zip(keys, kinds)}
        if query:
            self.parameters[keys[0]].pop("enum", None)
        self.description = source.pick(
            (
                f"{self.verb.capitalize()} the {self.noun}" + (f" for a {keys[0]}" if query else ""),
                f"{self.verb.capitalize()} the {self.noun}.",
                f"{self.noun.capitalize()}: {' '.join(source.terms(1, 4))}",
                None,
            )
        )

    def declaration(self) -> dict:
        """The OpenAI form of the function."""
        function = {"name": self.name}
        if self.description:
            function["description"] = self.description
        function["parameters"] = {"type": "object", "properties": self.parameters, "required": self.required}
        return {"type": "function", "function": function}

    def arguments(self, source: Source) -> dict:
        return {k: typed_value(source, self.parameters[k]) for k in self.required}


def spoken(source: Source, value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and (" " in value or source.chance(0.15)):
        return f'"{value}"'
    return str(value)


def request_action(source: Source, function: Function, arguments: dict) -> str:
    keys = list(arguments)
    if source.chance(0.3):
        source.rng.shuffle(keys)
    said = [(k.replace("_", " ") if source.chance(0.3) else k, spoken(source, arguments[k])) for k in keys]
    what = f"{function.verb} the {function.noun}"
    if source.chance(0.25):
        if keys and source.chance(0.3):
            return f"{function.name}({', '.join(f'{k}={v}' for k, v in said)})"
        what = source.pick(("call {n}", "use {n}", "run {n}")).format(n=function.name)
    if not said:
        return source.pick(("{w}", "Please {w}.", "Can you {w}?", "{w}.", "I want you to {w}")).format(w=what)
    texts = isinstance(arguments[keys[0]], str) and len(keys) == 1
    if texts and source.chance(0.35):
        return source.pick(("{w} {v}", "{w} for {v}", "Please {w} for {v}.", "Can you {w} {v}?")).format(
            w=what, v=said[0][1]
        )
    form = source.pick(("{k} {v}", "{k} {v}", "{k} is {v}", "{k} = {v}", "{k}: {v}"))
    parts = [form.format(k=k, v=v) for k, v in said]
    joined = " and ".join(parts) if len(parts) < 3 and source.chance(0.6) else ", ".join(parts)
    ask = source.pick(("{w} with {a}", "{w} with {a}.", "Please {w} with {a}.", "Can you {w}? {a}", "{w}: {a}", "I need you to {w}, {a}"))
    text = ask.format(w=what, a=joined)
    return text[0].upper() + text[1:] if not text.startswith(function.name) and source.chance(0.6) else text


def request_query(source: Source, function: Function, values: list[str]) -> tuple[str, str]:
    """The question and the preposition it used."""
    where = source.pick(PREPOSITIONS)
    what = " and ".join(f"{where} {v}" for v in values) if source.chance(0.5) else f"{where} " + " and ".join(values)
    ask = source.pick(
        (
            "What is the {n} {w}?",
            "What is the {n} {w}?",
            "What's the {n} {w}?",
            "How is the {n} {w}?",
            "Tell me the {n} {w}.",
            "Can you {v} the {n} {w}?",
            "{V} the {n} {w}.",
            "I want to know the {n} {w}.",
            "{n} {w}?",
        )
    )
    return ask.format(n=function.noun, v=function.verb, V=function.verb.capitalize(), w=what), where


def offer(source: Source, function: Function) -> list[dict]:
    """The function among up to two others of different name, three in the second stage."""
    functions = [function]
    for _ in range(source.pick((0, 1, 2, 2, 3) if source.second else (0, 0, 1, 1, 2))):
        other = Function(source, source.chance(0.5), function)
        clear = other.name not in {f.name for f in functions} and (other.verb, other.noun) != (function.verb, function.noun)
        # Two queries about the same noun could not be told apart by the question.
        if clear and not (other.noun == function.noun and function.query):
            functions.append(other)
    source.rng.shuffle(functions)
    return [f.declaration() for f in functions]


def make_call(function: Function, arguments: dict) -> dict:
    return {"type": "function", "function": {"name": function.name, "arguments": arguments}}


def reason(source: Source, function: Function, text: str) -> str:
    """In the second stage what is asked for comes first, so that the name is found by its words."""
    said = f"I call {function.name}."
    if not source.second or function.name in text:
        return said
    asked = function.noun if function.query else f"{function.verb} the {function.noun}"
    return f"{asked}: {said}"


def call(source: Source) -> dict:
    """One user turn that needs a function, seldom two calls of it."""
    function = Function(source, query=source.chance(0.4))
    if function.query:
        key = next(iter(function.parameters))
        values = source.distinct(lambda: typed_value(source, function.parameters[key]), 2 if source.chance(0.1) else 1)
        text, _ = request_query(source, function, values)
        calls = [make_call(function, {key: v}) for v in values]
    else:
        arguments = function.arguments(source)
        text = request_action(source, function, arguments)
        calls = [make_call(function, arguments)]
    return {
        "tools": offer(source, function),
        "user": text,
        "reasoning": reason(source, function, text),
        "content": "",
        "tool_calls": calls,
    }


def result_value(source: Source):
    r = source.rng.random()
    if r < 0.35:
        return source.pick(STATES)
    if r < 0.6:
        return source.integer()
    return source.name() if r < 0.75 else source.phrase()


def result(source: Source) -> dict:
    """The turn after a call: an answer made from what the tool returned."""
    function = Function(source, query=source.chance(0.7))
    if function.query:
        key = next(iter(function.parameters))
        about = typed_value(source, function.parameters[key])
        arguments = {key: about}
        text, where = request_query(source, function, [about])
        value = result_value(source)
        returned = {function.noun: value}
        for k in source.distinct(source.key, source.pick((0, 0, 1, 2))):
            if k != function.noun:
                returned[k] = source.integer() if source.chance(0.5) else source.word()
        if source.chance(0.3):
            returned = dict(source.rng.sample(list(returned.items()), len(returned)))
        said = json.dumps(returned, ensure_ascii=False) if source.chance(0.75) else str(value)
        answer = f"The {function.noun} {where} {about} is {value}."
    else:
        arguments = function.arguments(source)
        text = request_action(source, function, arguments)
        status, number = source.pick(("ok", "done", "success", source.word())), source.integer()
        key = source.pick(("id", "number", "code", source.key()))
        said = json.dumps({"status": status, key: number}, ensure_ascii=False)
        answer = f"The status is {status} and the {key} is {number}."
    if source.chance(0.12):
        error = source.phrase()
        said, answer = json.dumps({"error": error}), f"The call failed: {error}."
    return {
        "tools": offer(source, function),
        "user": text,
        "called": {"reasoning": f"I call {function.name}.", "tool_calls": [make_call(function, arguments)], "result": said},
        "content": answer,
    }
