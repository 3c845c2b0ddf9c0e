"""Answering from a table of facts given in the prompt."""

from words import Source

MISSING = "The table does not say."


def value(source: Source) -> str:
    r = source.rng.random()
    if r < 0.45:
        return source.word()
    if r < 0.65:
        return source.name()
    if r < 0.92:
        return str(source.integer())
    return source.decimal()


def pairs(source: Source) -> tuple[str, str, str, str]:
    """A list `key: value`; asked for the value of a key."""
    keys = source.distinct(source.term, source.rng.randint(2, 8))
    values = [value(source) for _ in keys]
    join = source.pick((": ", ": ", " = ", " - ", " is "))
    i = source.rng.randrange(len(keys))
    ask = source.pick(
        ("What is {k}?", "What is the value of {k}?", "Which value has {k}?", "{k}?", "Look up {k}.", "Tell me {k}.")
    )
    missing = source.chance(0.06)
    key = source.distinct(lambda: source.term(), 1)[0] if missing else keys[i]
    while missing and key in keys:
        key = source.term()
    rows = "\n".join(f"{k}{join}{v}" for k, v in zip(keys, values))
    return rows, ask.format(k=key), MISSING if missing else values[i], ""


def grid(source: Source) -> tuple[str, str, str, str]:
    """Names with one to three attributes, as sentences or as a Markdown table.

    In the second stage a table is read by writing the head beside the row that is asked for, and then what was asked:
    columns cannot be counted reliably at a glance.
    """
    reasoning = ""
    names = source.distinct(source.name, source.rng.randint(2, 5))
    attributes = source.distinct(source.noun, source.rng.randint(1, 3))
    cells = {(n, a): value(source) for n in names for a in attributes}
    name, attribute = source.pick(names), source.pick(attributes)
    if source.chance(0.5):
        facts = [f"The {a} of {n} is {cells[n, a]}." for n in names for a in attributes]
        source.rng.shuffle(facts)
        rows = source.pick((" ", "\n")).join(facts)
    else:
        head = ["name", *attributes]
        body = [[n, *(cells[n, a] for a in attributes)] for n in names]
        lines = [head, ["---"] * len(head), *body]
        rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        if source.second:
            row = next(line for line in body if line[0] == name)
            reasoning = "\n".join(f"{title}: {cell}" for title, cell in zip(head, row))
            reasoning += f"\nasked {attribute}: {cells[name, attribute]}"
    ask = source.pick(
        (
            "What is the {a} of {n}?",
            "What {a} does {n} have?",
            "Which {a} has {n}?",
            "Tell me the {a} of {n}.",
            "{a} of {n}?",
        )
    )
    return rows, ask.format(a=attribute, n=name), cells[name, attribute], reasoning


def facts(source: Source) -> dict:
    rows, question, answer, reasoning = source.pick((pairs, grid))(source)
    worked = {"content": answer, "reasoning": reasoning}
    lead = source.pick(("", "Facts:\n", "Here is a table:\n", "Use this table:\n", "Table:\n"))
    if source.chance(0.15):
        return {"system": lead + rows, "user": question, **worked}
    text = f"{lead}{rows}\n\n{question}" if source.chance(0.75) else f"{question}\n\n{lead}{rows}"
    return {"user": text, **worked}
