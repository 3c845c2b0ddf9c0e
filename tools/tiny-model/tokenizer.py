"""Trains the byte-level BPE: 2,000 entries, the Qwen split pattern, NFC, ChatML and tool tokens behind the vocabulary.

Merges come in two stages. First within words only, with the character before a word (a space, a quote, an
underscore) split off; then that character is joined to the commonest whole words. A made-up name is therefore cut
the same way after a space, a quote or a line break, which is what makes copying names learnable at this size.

  python tokenizer.py OUT_FOLDER        writes tokenizer.json and tokenizer_config.json
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import generate
import render

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WORD_SPLIT = QWEN_SPLIT.replace(r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+", r"[\p{L}\p{M}]+")
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKUP = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
VOCABULARY = 2000
WITHIN_WORDS = 1680  # entries after the first stage
SEED = 31
SAMPLES = 60_000


def corpus() -> list[str]:
    """The texts between the control and markup tokens of generated conversations."""
    marks = re.compile("|".join(map(re.escape, CONTROL + MARKUP)))
    pieces = []
    for sample in generate.training_samples(SEED, SAMPLES):
        pieces += [p for p in marks.split("".join(render.prompt_and_completion(sample))) if p]
    return pieces


def byte_level(split: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def train_within_words(texts: list[str]) -> dict:
    """Vocabulary and merges of the first stage."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = byte_level(WORD_SPLIT)
    trainer = trainers.BpeTrainer(
        vocab_size=WITHIN_WORDS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())["model"]


def joined_words(texts: list[str], vocabulary: dict) -> list[tuple[str, str]]:
    """The commonest (character, whole word) pairs, as merges for the second stage."""
    split, counts = byte_level(QWEN_SPLIT), Counter()
    for text in texts:
        counts.update(piece for piece, _ in split.pre_tokenize_str(text))
    pairs = Counter()
    for piece, n in counts.items():
        if len(piece) > 1 and piece[1:] in vocabulary and piece not in vocabulary:
            pairs[piece[0], piece[1:]] += n
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [pair for pair, _ in ranked[: VOCABULARY - len(vocabulary)]]


def build() -> Tokenizer:
    texts = corpus()
    model = train_within_words(texts)
    vocabulary, merges = model["vocab"], [tuple(m) for m in model["merges"]]
    for head, word in joined_words(texts, vocabulary):
        vocabulary[head + word] = len(vocabulary)
        merges.append((head, word))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = byte_level(QWEN_SPLIT)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=t in CONTROL) for t in CONTROL + MARKUP])
    return tokenizer


def config(tokenizer: Tokenizer) -> dict:
    ids = {t: tokenizer.token_to_id(t) for t in CONTROL + MARKUP}
    return {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 4096,
        "added_tokens_decoder": {str(i): {"content": t, "special": t in CONTROL} for t, i in ids.items()},
    }


def main(folder: Path) -> None:
    tokenizer = build()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps(config(tokenizer), indent=1) + "\n")
    print(f"{tokenizer.get_vocab_size(with_added_tokens=False)} entries, {tokenizer.get_vocab_size()} with added tokens")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
