"""Where completions are cut into steps."""

import itertools

import numpy as np
import pytest

from rlx import tokenizer as tokenizers
from rlx.rollout import segments

BYTES = tokenizers.ByteTokenizer()


def written(probabilities=(), text="") -> segments.Written:
  if text:
    tokens = np.array(BYTES.encode(text))
    return segments.Written(tokens, np.zeros(len(tokens)), BYTES)
  log_probs = np.log(np.asarray(probabilities))
  return segments.Written(np.zeros(len(log_probs), int), log_probs, BYTES)


PROBABILITIES = [0.95, 0.5, 0.99, 0.8, 0.97, 0.6, 0.99, 0.7, 0.95, 0.3, 0.99]
PROBABILITIES += [0.85]


def test_spo_cuts_before_every_other_uncertain_token():
  cuts = segments.cut(0.9, 2)(written(PROBABILITIES))
  np.testing.assert_array_equal(cuts - 1, [0, 4, 8])
  got = segments.ids(cuts, 12)
  np.testing.assert_array_equal(got, [0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3])


def test_a_first_token_that_is_uncertain_is_cut_from_the_prompt():
  cuts = segments.cut(0.9, 1)(written([0.5, 0.95, 0.5]))
  np.testing.assert_array_equal(cuts, [0, 2])
  np.testing.assert_array_equal(segments.ids(cuts, 3), [1, 1, 2])
  assert not len(segments.cut(0.9, 1)(written([0.95, 0.9])))


def test_steps_of_equal_length():
  assert segments.every(2)(written([1] * 5)).tolist() == [2, 4]
  assert segments.every(2)(written([1] * 4)).tolist() == [2]
  assert not len(segments.every(9)(written([1] * 4)))


def test_too_many_cuts_are_thinned_evenly():
  cuts = np.arange(7)
  assert segments.thin(cuts, 7).tolist() == cuts.tolist()
  assert segments.thin(cuts, 4).tolist() == [0, 2, 4, 6]
  assert segments.thin(cuts, 3).tolist() == [0, 3, 6]
  assert segments.thin(cuts, 0).tolist() == []


TEXT = "I add. Wait, no. But so it is! Hmm 7.</think> But 7."


def parts(text, **settings):
  cuts = segments.words(**settings)(written(text=text))
  tokens = BYTES.encode(text)
  edges = [0, *cuts.tolist(), len(tokens)]
  return [BYTES.decode(tokens[a:b]) for a, b in itertools.pairwise(edges)]


def test_reasoning_is_cut_before_words_of_hesitation_and_at_its_end():
  assert parts(TEXT, first=0, apart=0) == [
    *("I add.", " Wait, no.", " But so it is!"),
    *(" Hmm 7.", "</think> But 7."),
  ]
  assert "".join(parts(TEXT, first=7, apart=20)) == TEXT
  # Not before the 7th character, and 20 from one to the next.
  assert parts(TEXT, first=7, apart=20)[:2] == [
    "I add. Wait, no.",
    " But so it is! Hmm 7.",
  ]
  assert parts("I add. Waiting. so", first=0, apart=0) == [
    *("I add. Waiting.", " so")
  ]
  assert parts("So it is", first=0, apart=0) == ["So it is"]
  assert parts("Plain.</think>x") == ["Plain.", "</think>x"]


def test_a_cut_does_not_split_a_token():
  text = "Żó. Wait"  # Letters of two bytes.
  assert parts(text, first=0, apart=0) == ["Żó.", " Wait"]


@pytest.mark.parametrize(
  "make", [lambda: segments.every(0), lambda: segments.cut(0.9, 0)]
)
def test_what_makes_no_sense_is_refused(make):
  with pytest.raises(ValueError, match="=0"):
    make()
