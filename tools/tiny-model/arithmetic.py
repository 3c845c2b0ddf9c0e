"""Addition and subtraction of up to three digits, worked column by column in the think block.

A pair of numbers belongs to the test split iff the CRC-32 of "smaller,larger" is 0 modulo 10.
"""

import zlib

from words import Source

ADD = (
    "What is {a} + {b}?",
    "What is {a} plus {b}?",
    "What's {a} + {b}?",
    "{a} + {b}",
    "{a}+{b}",
    "{a} + {b} =",
    "{a}+{b}=?",
    "Add {a} and {b}.",
    "Add {b} to {a}.",
    "Compute {a} + {b}.",
    "Calculate {a} plus {b}",
    "Please calculate {a} + {b}.",
    "How much is {a} + {b}?",
    "What is the sum of {a} and {b}?",
    "{a} plus {b}",
)
SUBTRACT = (
    "What is {a} - {b}?",
    "What is {a} minus {b}?",
    "What's {a} - {b}?",
    "{a} - {b}",
    "{a}-{b}",
    "{a} - {b} =",
    "{a}-{b}=?",
    "Subtract {b} from {a}.",
    "Compute {a} - {b}.",
    "Calculate {a} minus {b}",
    "Please calculate {a} - {b}.",
    "How much is {a} - {b}?",
    "Take {b} away from {a}.",
    "{a} minus {b}",
)
MORE = (
    "{who} has {a} {things} and gets {b} more. How many {things} does {who} have now?",
    "There are {a} {things} in the box. {who} puts in {b} more. How many {things} are in the box?",
)
FEWER = (
    "{who} has {a} {things} and gives away {b}. How many {things} are left?",
    "There are {a} {things} in the box. {who} takes out {b}. How many {things} are left?",
)


def is_test_pair(a: int, b: int) -> bool:
    return zlib.crc32(f"{min(a, b)},{max(a, b)}".encode()) % 10 == 0


def draw_pair(source: Source) -> tuple[int, int]:
    """Two numbers of the source's split; evaluation has two and three digits only."""
    lengths = (2, 3, 3) if source.test else (1, 2, 2, 3, 3, 3)
    while True:
        pair = []
        for _ in range(2):
            n = source.pick(lengths)
            pair.append(source.rng.randrange(0 if n == 1 else 10 ** (n - 1), 10**n))
        if is_test_pair(*pair) == source.test:
            return pair[0], pair[1]


def column_sum(a: int, b: int) -> str:
    """Column addition from the right, `digit+digit+carry=sum` a line."""
    lines, carry = [], 0
    for i in range(max(len(str(a)), len(str(b)))):
        x, y = a // 10**i % 10, b // 10**i % 10
        total = x + y + carry
        lines.append(f"{x}+{y}+{carry}={total}")
        carry = total // 10
    return "\n".join(lines)


def column_difference(a: int, b: int) -> str:
    """Column subtraction from the right, `digit-digit-borrow=rest` a line; a leading 1 is a borrow."""
    if a < b:
        return f"{a}<{b}\n" + column_difference(b, a)
    lines, borrow = [], 0
    for i in range(len(str(a))):
        x, y = a // 10**i % 10, b // 10**i % 10
        if short := x < y + borrow:
            x += 10
        lines.append(f"{x}-{y}-{borrow}={x - y - borrow}")
        borrow = int(short)
    return "\n".join(lines)


def things(source: Source) -> str:
    noun = source.noun()
    return noun + ("es" if noun.endswith(("s", "x", "z", "ch", "sh")) else "s")


def add(source: Source) -> dict:
    a, b = draw_pair(source)
    if source.chance(0.1):
        text = source.pick(MORE).format(a=a, b=b, who=source.name(), things=things(source))
    else:
        text = source.pick(ADD).format(a=a, b=b)
    return {"user": text, "reasoning": column_sum(a, b), "content": str(a + b)}


def subtract(source: Source) -> dict:
    a, b = draw_pair(source)
    if a < b and source.chance(0.7):
        a, b = b, a
    if a >= b and source.chance(0.1):
        text = source.pick(FEWER).format(a=a, b=b, who=source.name(), things=things(source))
    else:
        text = source.pick(SUBTRACT).format(a=a, b=b)
    return {"user": text, "reasoning": column_difference(a, b), "content": str(a - b)}
