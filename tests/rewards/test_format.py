"""Hand tables of the rewards of form."""

import pytest

from rlx.rewards import format as forms


def test_an_answer_mark_is_a_closed_box_or_hashes():
  texts = [r"\boxed{5}", "#### 5", "5", r"\boxed{5", "####"]
  assert forms.has_answer_mark(texts) == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_a_pattern_matches_the_whole_completion():
  reward = forms.matches(r"<think>.*</think>\d+")
  assert reward(["<think>a\nb</think>5", "x<think></think>5"]) == [1.0, 0.0]


# DAPO's example: a limit of 20 with a buffer of 4.
@pytest.mark.parametrize(
  ("length", "penalty"),
  [(10, 0.0), (16, 0.0), (18, -0.5), (20, -1.0), (99, -1)],
)
def test_the_overlong_penalty(length, penalty):
  reward = forms.soft_overlong(20, 4)
  assert reward([[0] * length], prompts=[""]) == [penalty]


def test_a_buffer_beyond_the_limit_is_refused():
  with pytest.raises(ValueError, match=r"buffer=5 is not in 1 to max_comp.*=4"):
    forms.soft_overlong(4, 5)
