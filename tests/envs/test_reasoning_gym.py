"""reasoning-gym: its problems are rows, its scorers are rewards."""

import pytest

from rlx.envs import extras, reasoning_gym

pytestmark = [
  pytest.mark.skipif(
    not extras.installed("reasoning_gym"), reason="reasoning-gym is an extra"
  ),
  # It leaves files of its data open.
  pytest.mark.filterwarnings("ignore"),
]
SETS = ("leg_counting", "spell_backward")


@pytest.fixture(scope="module")
def data():
  return reasoning_gym.problems(datasets=SETS, size=40, held_out=12)


def test_rows_take_turns_and_their_own_answers_score_one(data):
  rows = [data["train"][i] for i in range(4)]
  assert [row["entry"]["dataset"] for row in rows] == [*SETS, *SETS]
  texts = [row["completion"] for row in rows]
  entries = [row["entry"] for row in rows]
  assert reasoning_gym.score(texts, entries) == [1, 1, 1, 1]
  assert reasoning_gym.score(["<answer>x</answer>"] * 4, entries) != [1] * 4


def test_the_split_is_of_the_questions_and_rows_do_not_change(data):
  train = {data["train"][i]["prompt"] for i in range(40)}
  test = {data["test"][i]["prompt"] for i in range(12)}
  assert not train & test
  again = reasoning_gym.problems(datasets=SETS, size=40)["train"]
  assert again[7] == data["train"][7]
  other = reasoning_gym.problems(datasets=SETS, size=40, seed=1)["train"]
  assert other[7] != data["train"][7]
  with pytest.raises(IndexError, match="row 40 of 40"):
    data["train"][40]


@pytest.mark.parametrize(
  ("completion", "want"),
  [
    ("<answer> 12 </answer>", "12"),
    ("<answer>1</answer> or <answer>2</answer>.", "2"),
    ([{"role": "assistant", "content": "<answer>3</answer>"}], "3"),
    ("12", None),
    ("<answer>12", None),
  ],
)
def test_an_answer_stands_between_its_tags(completion, want):
  assert reasoning_gym.read_answer(completion) == want


def test_a_scorer_that_raises_scores_nothing_and_is_counted():
  row = reasoning_gym.problems(datasets=("prime_factorization",), size=4)[
    "train"
  ][0]
  said = []
  texts = ["<answer>[1,</answer>", row["completion"]]
  found = reasoning_gym.score(
    texts, [row["entry"]] * 2, log_metric=lambda *x: said.append(x)
  )
  assert found == [0, 1]
  assert said == [("unscored", 0.5)]


def test_presets_are_of_data_sets_that_there_are():
  known = reasoning_gym._known()
  for names in reasoning_gym.PRESETS.values():
    assert {*names} <= {*known}
  rows = reasoning_gym.problems(datasets=("arithmetic",), size=4)["train"]
  names = [rows[i]["entry"]["dataset"] for i in range(4)]
  assert tuple(names) == reasoning_gym.PRESETS["arithmetic"]


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    (
      {"datasets": ("leg_cuonting",)},
      "no 'leg_cuonting'; there are arithmetic",
    ),
    ({"datasets": ()}, "at least one each"),
    ({"held_out": 0}, "held_out=0"),
  ],
)
def test_impossible_data_is_refused(fields, said):
  with pytest.raises(ValueError, match=said):
    reasoning_gym.problems(**fields)
