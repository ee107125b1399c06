"""Single-turn tasks: prompts from a data set, completions scored by rewards."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rlx import spec
from rlx import tokenizer as tokenizers
from rlx.data import prompts as data_prompts
from rlx.rewards import calls, combine
from rlx.rollout import completions
from rlx.rollout import config as rollout_config


@dataclasses.dataclass(frozen=True)
class PromptTask:
  """Prompts and the functions that score what the policy answers."""

  data: spec.Spec
  """A spec whose build() gives {"train": source, "test": source} of rows."""
  rewards: tuple[Callable[..., Any] | spec.Spec, ...]
  """Reward functions, see `rlx.rewards.combine`, or specs that build one."""
  reward_weights: tuple[float, ...] | None = None
  """One each; 1 unless given."""
  success_above: float = 0.5
  """A completion succeeds where the first function's reward is above this."""

  vocabulary: tuple[str, ...] = ()
  """Words of the scratch tokeniser, for a model made from scratch; () for one
  that reads bytes."""

  def __post_init__(self):
    num = len(self.rewards)
    if not num or len(self.reward_weights or self.rewards) != num:
      raise ValueError(
        f"task.rewards has {num} functions and task.reward_weights is "
        f"{self.reward_weights}: one weight each, and at least one function"
      )

  def words(self) -> tuple[str, ...]:
    """Returns the vocabulary."""
    return self.vocabulary


def load(
  task: PromptTask,
  config: rollout_config.RolloutConfig,
  tokenizer: tokenizers.Tokenizer,
  seed: int,
) -> dict[str, Any]:
  """Returns, by split, what gives `(row, tokens)` for an index.

  "train" goes on for ever, each epoch in an order of its own; "test" is in the
  order of the source. Everything is checked here, before anything compiles.

  Raises:
    ValueError: a split is empty, a column is missing, prompts are too long.
  """
  sources = task.data.build()
  out = {}
  for split in ("train", "test"):
    if split not in sources:
      raise ValueError(
        f"task.data has no split {split!r}; it has {sorted(sources)}"
      )
    source = sources[split]
    prompts = data_prompts.tokenise(
      source,
      tokenizer,
      max_prompt_length=config.max_prompt_length,
      long_prompts=config.long_prompts,
    )
    combine.check(calls.made(task.rewards), [*source[0], "truncated"])
    out[split] = prompts
  out["train"] = data_prompts.ordered(out["train"], seed, True, None)
  return out


def make_score(task: PromptTask):
  """Returns the function that scores a batch of completions.

  `(rows, texts, token ids, truncated) -> completions.Scored`. Evidence is what
  reward functions log by `log_extra(NAME, numbers)`, and "objective/FUNCTION",
  what each of them returned, unweighted; 0 where it abstained.
  """

  functions = calls.made(task.rewards)

  def score(
    rows: Sequence[Mapping[str, Any]],
    texts: Sequence[str],
    ids: Sequence[Sequence[int]],
    truncated: np.ndarray,
  ):
    columns = combine.columns_of(rows)
    columns["truncated"] = [bool(x) for x in truncated]
    found = combine.score(
      functions,
      task.reward_weights,
      [row["prompt"] for row in rows],
      texts,
      ids,
      columns,
    )
    metrics = combine.summary(found)
    # The mean spread within groups is what `rollout.summary` reports.
    metrics = {k: v for k, v in metrics.items() if k.startswith("rewards/")}
    values = np.nan_to_num(found.values, nan=0.0)
    objectives = {
      f"objective/{name}": each
      for name, each in zip(found.names, values, strict=True)
    }
    return completions.Scored(
      rewards=found.total,
      success=values[0] > task.success_above,
      evidence=objectives | _numbers(found.extra, len(texts)),
      metrics=metrics,
    )

  return score


def _numbers(extra: Mapping[str, Any], size: int) -> dict[str, np.ndarray]:
  """Returns the logged columns that are a number for each completion."""
  out = {}
  for name, values in extra.items():
    if len(values) == size and all(
      isinstance(x, int | float | np.number) for x in values
    ):
      out[name] = np.asarray(values, np.float64)
  return out
