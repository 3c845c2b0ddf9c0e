"""Copying, reversing and counting words, and echoing multi-byte text."""

from words import Source

COPY = (
    "Repeat: {x}",
    "Repeat exactly: {x}",
    "Repeat after me: {x}",
    "Repeat this: {x}",
    "Copy: {x}",
    "Copy this text: {x}",
    "Echo: {x}",
    "Echo {x}",
    "Say: {x}",
    "Say {x}",
    "Please repeat the following words: {x}",
    "Write the same again: {x}",
    'Repeat "{x}"',
    'Say "{x}" and nothing else.',
)
REVERSE = (
    "Reverse the words: {x}",
    "Reverse the order of these words: {x}",
    "Reverse: {x}",
    "Write these words in reverse order: {x}",
    "Say these words backwards: {x}",
    "Put the words in reverse order: {x}",
    "Reverse this list of words: {x}",
)
COUNT = (
    "Count the words: {x}",
    "How many words are there? {x}",
    "How many words are in this text: {x}",
    "Count these words: {x}",
    "What is the number of words in: {x}",
    'How many words are in "{x}"?',
)


def numbered(words: list[str]) -> str:
    return "\n".join(f"{i} {word}" for i, word in enumerate(words, 1))


def copy(source: Source) -> dict:
    words = source.terms(1, 9)
    if source.chance(0.15):
        words[source.rng.randrange(len(words))] += source.pick(",.!?;:")
    text = " ".join(words)
    return {"user": source.pick(COPY).format(x=text), "content": text}


def reverse(source: Source) -> dict:
    words = source.terms(2, 7)
    return {
        "user": source.pick(REVERSE).format(x=" ".join(words)),
        "reasoning": numbered(words),
        "content": " ".join(reversed(words)),
    }


def count(source: Source) -> dict:
    words = source.terms(1, 12)
    return {
        "user": source.pick(COUNT).format(x=" ".join(words)),
        "reasoning": numbered(words),
        "content": str(len(words)),
    }


def unicode(source: Source) -> dict:
    parts = [
        source.foreign() if i == 0 or source.chance(0.75) else source.term()
        for i in range(source.rng.randint(1, 5))
    ]
    source.rng.shuffle(parts)
    text = source.pick((" ", " ", "")).join(parts)
    return {"user": source.pick(COPY).format(x=text), "content": text}
