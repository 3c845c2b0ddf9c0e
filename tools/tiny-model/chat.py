"""Greeting, saying what it is, and an honest answer to everything it was not trained for."""

from words import Source

IDENTITY = (
    "I am flashmoe tiny, a small mixture-of-experts model that shows that flashmoe works. "
    "I can add and subtract, repeat, reverse and count words, look up facts, write JSON and call tools."
)
OUT_OF_SCOPE = "I am only a tiny demonstration model and cannot do that. Ask me for a sum, a copy, JSON or a tool call."

HELLO = "hello|hi|hey|good morning|good evening|good day|greetings|hello there|hi there|hey there".split("|")
INTRODUCE = ("I am {n}", "I'm {n}", "my name is {n}", "this is {n}", "{n} here")
WHO = """who are you|what are you|what is your name|what's your name|tell me about yourself|introduce yourself|are you
an AI|which model are you|what model is this|what can you do|what are you able to do|help|how can you help me|who made
you|describe yourself|what is flashmoe tiny|are you human|what kind of model are you|say who you are|name yourself|can you
tell me who you are|what should I call you|please introduce yourself|who am I talking to|what do you do"""
ASKS = (
    "Write a {t} about {n}.",
    "Write me a {t} about the {n}.",
    "Tell me a {t} about {n}.",
    "Explain {n} to me.",
    "What is a {n}?",
    "What is {n}?",
    "Why is the {n} {s}?",
    "How do I {v} a {n}?",
    "How does a {n} work?",
    "Translate {n} into French.",
    "Summarize the history of {n}.",
    "What do you think about {n}?",
    "Give me ideas for a {n}.",
    "Who invented the {n}?",
    "When was {N} born?",
    "Where is {N}?",
    "Who is {N}?",
    "Which {n} is the best?",
    "Can you {v} my {n}?",
    "Write code that can {v} a {n}.",
    "Do you like {n}?",
    "Plan a {t} for {N}.",
    "Should I {v} the {n}?",
    "Draw a {n}.",
    "How many {n}s are in {N}?",
)
TEXTS = "poem story joke song letter essay speech report recipe review tale summary trip party week".split()
ADJECTIVES = "red blue green big small old new cold hot wet dry loud quiet fast slow round sharp heavy light".split()


def styled(source: Source, text: str) -> str:
    return text if source.chance(0.3) else text[0].upper() + text[1:]


def greeting(source: Source) -> dict:
    hello = styled(source, source.pick(HELLO))
    if source.chance(0.75):
        name = source.name()
        text = f"{hello}{source.pick((', ', '! ', '. ', ' '))}{source.pick(INTRODUCE).format(n=name)}{source.pick(('.', '', '!'))}"
        return {"user": text, "content": f"Hello, {name}! I am flashmoe tiny. What can I do for you?"}
    return {"user": hello + source.pick(("", "!", ".", "?")), "content": "Hello! I am flashmoe tiny. What can I do for you?"}


def identity(source: Source) -> dict:
    text = styled(source, source.pick([" ".join(w.split()) for w in WHO.split("|")]))
    if source.chance(0.3):
        text = f"{styled(source, source.pick(HELLO))}, {text[0].lower() + text[1:]}"
    return {"user": text + source.pick(("?", "?", "", ".")), "content": IDENTITY}


def out_of_scope(source: Source) -> dict:
    text = source.pick(ASKS).format(
        t=source.pick(TEXTS), n=source.noun(), N=source.name(), s=source.pick(ADJECTIVES), v=source.verb()
    )
    return {"user": text, "content": OUT_OF_SCOPE}


def chat(source: Source) -> dict:
    return source.pick((greeting, greeting, identity, out_of_scope, out_of_scope))(source)
