"""python -m unittest, in this folder. Needs jinja2; the tests of weights also need torch and transformers."""

import json
import re
import unittest

import arithmetic
import generate
import render
import score
from words import NAMES, is_test

try:
    import torch
except ImportError:
    torch = None


class Skills(unittest.TestCase):
    def test_column_work_gives_the_sum_and_the_difference(self):
        for a, b in ((0, 0), (7, 8), (99, 1), (999, 999), (305, 87), (1000 - 1, 10)):
            digits = [line.split("=")[1] for line in arithmetic.column_sum(a, b).split("\n")]
            last = digits[-1] + "".join(d[-1] for d in reversed(digits[:-1]))
            self.assertEqual(int(last), a + b)
            if a >= b:
                rest = [line.split("=")[1] for line in arithmetic.column_difference(a, b).split("\n")]
                self.assertEqual(int("".join(reversed(rest))), a - b)

    def test_the_same_seed_gives_the_same_samples(self):
        self.assertEqual(list(generate.training_samples(3, 300)), list(generate.training_samples(3, 300)))

    def test_no_word_of_the_test_split_is_drawn_for_training(self):
        held = {name.lower() for name in NAMES if is_test(name)}
        for sample in generate.training_samples(11, 4000):
            text = json.dumps([sample["messages"], sample.get("tools"), sample["answer"]], ensure_ascii=False)
            drawn = set(re.findall(r"[a-z]+", text.lower())) & held
            self.assertFalse(drawn, text)

    def test_no_pair_of_numbers_is_in_both_splits(self):
        for skill in ("add", "subtract"):
            for sample in generate.eval_samples(skill):
                a, b = (int(n) for n in re.findall(r"\d+", sample["messages"][-1]["content"]))
                self.assertTrue(arithmetic.is_test_pair(a, b))

    def test_every_expected_answer_scores_as_right_and_a_damaged_one_as_wrong(self):
        for skill in generate.SKILLS:
            for i, sample in enumerate(generate.eval_samples(skill)):
                record = generate.eval_record(i, sample)
                _, completion = render.prompt_and_completion(sample)
                self.assertTrue(score.is_right(record, completion), (record, completion))
                body = completion.removesuffix("<|im_end|>")
                self.assertFalse(score.is_right(record, body[:-2]), record)

    def test_evaluation_holds_200_different_prompts_a_skill(self):
        for skill in generate.SKILLS:
            asked = {json.dumps([s["messages"], s.get("tools")]) for s in generate.eval_samples(skill)}
            self.assertEqual(len(asked), 200)


@unittest.skipIf(torch is None, "torch is not installed")
class Weights(unittest.TestCase):
    def test_faster_forms_agree_with_the_reference(self):
        import fast

        for part, difference in fast.check("cpu").items():
            self.assertLess(difference, 1e-5, part)

    def test_a_repository_reads_back_as_training_stored_it(self):
        import tempfile
        from pathlib import Path

        from safetensors.torch import save_file

        import checkpoint
        import convert
        import quant
        from architecture import new_model

        parameters = {n: p.detach() for n, p in new_model().named_parameters()}
        stored = [torch.empty_like(p) for p in parameters.values()]
        quant.Stored(list(parameters), compiled=False).write(list(parameters.values()), stored)
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder)
            for name in ("tokenizer.json", "tokenizer_config.json"):
                (at / name).write_text("{}")
            save_file(parameters, str(at / "masters.safetensors"))
            convert.main(at / "masters.safetensors", at, at / "repository")
            read = checkpoint.load_repository(at / "repository", {n: p.shape for n, p in parameters.items()})
        for name, value in zip(parameters, stored):
            self.assertTrue(torch.equal(read[name], value), name)


if __name__ == "__main__":
    unittest.main()
