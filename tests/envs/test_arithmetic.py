"""The arithmetic task: pure, right, and split without overlap."""

import pytest

from rlx import data, tokenizer
from rlx.envs import arithmetic


def test_rows_are_pure_and_their_answers_right():
  source = arithmetic.Arithmetic(digits=2, spaced=False, size=500)
  rows = [source[i] for i in range(500)]
  again = arithmetic.Arithmetic(digits=2, spaced=False, size=500)
  assert [again[i] for i in range(500)] == rows
  seen = set()
  for row in rows:
    a, operation, b, _ = row["prompt"].split()
    value = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}
    assert row["answer"] == str(value[operation])
    seen.add(operation)
  assert seen == set("+-*")
  # A golden row: the hash may never change, or runs would not resume.
  assert rows[0] == GOLDEN


GOLDEN = {"prompt": "10 * 99 =", "completion": "990", "answer": "990"}


def test_spaced_rows_are_words_of_the_scratch_vocabulary():
  words = tokenizer.WordTokenizer(arithmetic.WORDS)
  source = arithmetic.Arithmetic(digits=3, size=200)
  plain = arithmetic.Arithmetic(digits=3, size=200, spaced=False)
  for i in range(200):
    for column in ("prompt", "answer"):
      text = source[i][column]
      assert words.decode(words.encode(text)) == text
      assert "".join(text.split()) == "".join(plain[i][column].split())


def test_held_out_problems_are_never_trained_on():
  problems = {
    split: {row["prompt"] for row in map(source.__getitem__, range(2000))}
    for split in ("train", "test")
    for source in [arithmetic.Arithmetic(split, digits=1, operations="+")]
  }
  assert not problems["train"] & problems["test"]
  assert len(problems["train"] | problems["test"]) == 100
  assert 5 <= len(problems["test"]) <= 20


def test_seeds_and_indices_give_other_rows():
  rows = [
    arithmetic.Arithmetic(seed=s, digits=9)[i] for s in (0, 1) for i in (0, 1)
  ]
  assert len({row["prompt"] for row in rows}) == 4
  with pytest.raises(IndexError, match="row 3 of 3"):
    arithmetic.Arithmetic(size=3)[3]


def test_rows_become_prompts_and_demonstrations():
  words = tokenizer.WordTokenizer(arithmetic.WORDS)
  source = arithmetic.Arithmetic(digits=1, size=10)
  prompts = data.tokenise(source, words, max_prompt_length=8)
  batch = next(data.batches(prompts, num_prompts=4, seed=0))
  assert [words.decode(ids) for ids in batch.tokens] == [
    row["prompt"] for row in batch.rows
  ]
  lines = data.sft_rows(source, words)
  assert lines.tokens.shape[0] == 10
  assert (lines.mask.sum(1) >= 2).all()


def test_only_the_result_is_right():
  assert arithmetic.correct_result(
    ["1 9", "19", "1 2 + 7", "1 9 1 9", ""], ["1 9"] * 5
  ) == [1.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
  ("options", "match"),
  [
    ({"operations": "+/"}, r"operations='\+/'"),
    ({"digits": 0}, "digits=0"),
    ({"split": "dev"}, "split"),
  ],
)
def test_bad_options_are_refused(options, match):
  with pytest.raises(Exception, match=match):
    arithmetic.Arithmetic(**options)
