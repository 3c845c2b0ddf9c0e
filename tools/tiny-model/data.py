"""An endless, reproducible stream of training batches, generated and tokenised by worker processes."""

import os
from collections import defaultdict
from multiprocessing import get_context

import numpy as np
from tokenizers import Tokenizer

import generate
import render

PAD_ID = 2000  # <|endoftext|>
LENGTHS = (64, 128, 192, 256, 384, 512)  # multiples of the delta rule's chunk; longer samples are left out
PER_TASK = 1500
_tokenizer: Tokenizer


def _start(path: str) -> None:
    global _tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _tokenizer = Tokenizer.from_file(path)


def encode(tokenizer: Tokenizer, sample: dict) -> tuple[list[int], list[int]]:
    """Prompt ids and completion ids, cut where generation will begin."""
    prompt, completion = render.prompt_and_completion(sample)
    return tokenizer.encode(prompt).ids, tokenizer.encode(completion).ids


def _task(task: tuple[int, int]) -> list[tuple[np.ndarray, int]]:
    """Samples of a (seed, stage) as (ids, length of the prompt)."""
    seed, stage = task
    out = []
    for sample in generate.training_samples(seed, PER_TASK, stage):
        prompt, completion = encode(_tokenizer, sample)
        if len(prompt) + len(completion) <= LENGTHS[-1]:
            out.append((np.array(prompt + completion, dtype=np.uint16), len(prompt)))
    return out


def pack(rows: list[tuple[np.ndarray, int]], length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids [rows, length] int64; per position the weight of predicting the next id from a completion and from a prompt.

    A completion of n ids weighs sqrt(n) in all, so that short answers are not drowned by long ones.
    """
    ids = np.full((len(rows), length), PAD_ID, dtype=np.int64)
    answer, ask = np.zeros((2, len(rows), length), dtype=np.float32)
    for i, (row, start) in enumerate(rows):
        ids[i, : len(row)] = row
        answer[i, start - 1 : len(row) - 1] = (len(row) - start) ** -0.5
        ask[i, : start - 1] = 1
    return ids, answer, ask


class Batches:
    """Batches of `tokens` positions (rows × length), the same ones for the same seed whatever `workers` is.

    Make it before the process touches the GPU: the workers are forked at once.
    """

    def __init__(self, tokenizer_file: str, seed: int, stage: int, tokens: int, steps: int, workers: int):
        self.tokens = tokens
        tasks = 10 + steps * tokens // (PER_TASK * 120)  # a sample fills about 150 positions
        self.tasks = ((seed * 1_000_000 + i, stage) for i in range(tasks))
        self.pool = get_context("fork").Pool(workers, _start, (tokenizer_file,))

    def __iter__(self):
        waiting = defaultdict(list)
        for samples in self.pool.imap(_task, self.tasks):
            for row, start in samples:
                length = next(n for n in LENGTHS if len(row) <= n)
                waiting[length].append((row, start))
                if len(waiting[length]) == self.tokens // length:
                    yield pack(waiting.pop(length), length)

    def stop(self) -> None:
        self.pool.terminate()
