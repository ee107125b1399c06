"""reasoning-gym: its generators as data, its scorers as the verifier.

A row has `prompt`, `answer` (reasoning-gym's own, where it has one) and `entry`,
what its scorer is asked about. Needs `pip install 'rlx[reasoning-gym]'`.

    task=PromptTask(
      data=spec(reasoning_gym.problems, datasets=("leg_counting", "maze")),
      rewards=(reasoning_gym.score,),
    )

Problems are held out by a hash of the question, so none is trained on.
"""

import functools
import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rlx.envs import extras

# Named choices of data sets; any name of reasoning-gym's own may be given too.
PRESETS = {
  "arithmetic": ("basic_arithmetic", "chain_sum", "gcd", "leg_counting"),
  "algebra": ("simple_equations", "polynomial_equations"),
  "algorithms": ("spell_backward", "number_sorting", "base_conversion"),
  "logic": ("knights_knaves", "syllogism", "zebra_puzzles"),
  "games": ("countdown", "mini_sudoku", "tower_of_hanoi"),
  "graphs": ("shortest_path", "course_schedule", "largest_island"),
}
_TEST_SHARE = 8  # One problem in so many is held out.
_ATTEMPTS = 128  # Draws until one is of the split that is asked for.
_INSTRUCTION = "Give the answer alone between <answer> and </answer>."
_APART = 1_000_003
# Some generators share what they draw with.
_LOCK = threading.Lock()


class _Problems:
  """Rows of one split, made when asked for; data sets take turns."""

  def __init__(self, split, size, datasets, seed, instruction):
    self._split, self._size = split, size
    self._datasets, self._seed = datasets, seed
    self._instruction = instruction

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int) -> dict[str, Any]:
    """Row `index`; raises IndexError beyond the size."""
    if not 0 <= index < self._size:
      raise IndexError(f"row {index} of {self._size}")
    name = self._datasets[index % len(self._datasets)]
    for attempt in range(_ATTEMPTS):
      # A problem is drawn from the sum of seed and index: seeds are far apart.
      seed = self._seed + attempt * _APART
      with _LOCK:
        entry = _dataset(name, seed, self._size)[index]
      held = _hash(entry["question"]) % _TEST_SHARE == 0
      if held == (self._split == "test"):
        return self._row(name, entry)
    raise ValueError(
      f"datasets: {name!r} has no {self._split} problem among {_ATTEMPTS} draws; "
      "it has too few to hold some out"
    )

  def _row(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
    answer = entry["answer"]
    return {
      "prompt": f"{entry['question'].strip()}\n{self._instruction}".strip(),
      "completion": f"<answer>{'' if answer is None else answer}</answer>",
      "answer": answer,
      "entry": {**entry, "dataset": name},
    }


def problems(
  *,
  datasets: tuple[str, ...] = ("arithmetic",),
  size: int = 10_000,
  held_out: int = 256,
  seed: int = 0,
  instruction: str = _INSTRUCTION,
) -> dict[str, Any]:
  """Rows by split of one data set of reasoning-gym, or of several in turn.

  Args:
    datasets: names of reasoning-gym's, or of `PRESETS`: arithmetic, algebra,
      algorithms, logic, games, graphs.
    size: rows of the training split.
    held_out: rows of the test split.
    seed: of the draws.
    instruction: what stands behind each question.

  Raises:
    ValueError: reasoning-gym is not installed, or has no such data set.
  """
  if not datasets or size < 1 or held_out < 1:
    raise ValueError(
      f"datasets={datasets}, size={size}, held_out={held_out}: at least one each"
    )
  names = tuple(x for name in datasets for x in PRESETS.get(name, (name,)))
  known = _known()
  for name in names:
    if name not in known:
      raise ValueError(
        f"datasets: reasoning-gym has no {name!r}; there are "
        f"{', '.join([*PRESETS, *known])}"
      )
  make = lambda split, num: _Problems(split, num, names, seed, instruction)
  return {"train": make("train", size), "test": make("test", held_out)}


def score(
  completions: Sequence[Any],
  entry: Sequence[dict[str, Any]],
  log_metric: Callable[[str, float], None] | None = None,
  **columns: Any,
) -> list[float]:
  """What reasoning-gym's scorer gives each answer, mostly between 0 and 1.

  The answer is what stands between the last <answer> and </answer>; without
  them the completion scores 0. A scorer that raises on an answer gives 0 too,
  and is counted in the metric `unscored`: many do on what is no answer at all.
  """
  del columns
  found, failed = [], 0
  for completion, row in zip(completions, entry, strict=True):
    answer = read_answer(completion)
    if answer is None:
      found.append(0.0)
      continue
    try:
      found.append(float(_scorer(row["dataset"])(answer, row)))
    except Exception:  # Of any kind: the text is whatever a model wrote.
      found.append(0.0)
      failed += 1
  if log_metric is not None:
    log_metric("unscored", failed / max(len(found), 1))
  return found


def read_answer(completion: Any) -> str | None:
  """Returns what stands in the last <answer>, or None without one."""
  text = (
    completion if isinstance(completion, str) else completion[-1]["content"]
  )
  before, opened, rest = text.rpartition("<answer>")
  del before
  answer, closed, _ = rest.partition("</answer>")
  return answer.strip() if opened and closed else None


def _known() -> list[str]:
  """Returns the names of reasoning-gym's data sets."""
  extras.load("reasoning_gym", "reasoning-gym")
  factory = extras.load("reasoning_gym.factory", "reasoning-gym")
  # A composite is made of others, which are named here instead.
  return sorted(name for name in factory.DATASETS if name != "composite")


@functools.lru_cache(maxsize=512)
def _dataset(name: str, seed: int, size: int) -> Any:
  gym = extras.load("reasoning_gym", "reasoning-gym")
  return gym.create_dataset(name, seed=seed, size=size)


@functools.lru_cache(maxsize=256)
def _scorer(name: str) -> Callable[[str, dict[str, Any]], float]:
  gym = extras.load("reasoning_gym", "reasoning-gym")
  return gym.get_score_answer_fn(name)


def _hash(text: str) -> int:
  return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
