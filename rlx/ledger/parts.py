"""What recipes are made of, one at a time: which part makes them biased."""

from typing import NamedTuple

from rlx import credit, objective
from rlx.credit import estimator
from rlx.objective import reductions
from rlx.recipes import recipe


class Part(NamedTuple):
  """A composition that differs from a right one in one thing.

  Attributes:
    made: as a recipe.
    about: what is asked.
    critic: whether the values that it is told are exact; else they are 0.
  """

  made: recipe.Recipe
  about: str
  critic: bool = True


def _part(
  name: str,
  about: str,
  link: estimator.Estimator,
  formula: str,
  *,
  reduction: reductions.Reduction = "seq-mean-token-sum",
  evidence: tuple[str, ...] = (),
  filter_groups: bool = False,
  critic: bool = True,
) -> Part:
  made = recipe.Recipe(
    name=name,
    credit=link,
    objective=objective.reinforce(objective.Terms(reduction=reduction)),
    formula=formula,
    evidence=evidence,
    filter_groups=filter_groups,
  )
  return Part(made, about, critic)


def _outcome(**arguments) -> estimator.Estimator:
  defaults: dict = {"by": ("prompt",), "vote": "vote", "scale": None}
  return credit.chain(
    credit.outcome(), credit.standardise(**(defaults | arguments))
  )


def parts() -> tuple[Part, ...]:
  """Returns all of them."""
  return (*_baselines(), *_comparisons(), *_values(), *_reductions())


def _baselines() -> tuple[Part, ...]:
  others = _outcome(center="loo")
  return (
    _part(
      "mean_of_others",
      "a baseline of the prompt's other samples",
      others,
      "outcome - mean of the others",
    ),
    _part(
      "mean_with_self",
      "a baseline that the sample is part of",
      _outcome(),
      "outcome - mean(prompt)",
    ),
    _part(
      "mean_of_rows",
      "a baseline in which long trajectories count more",
      _outcome(vote=None),
      "outcome - mean(prompt), a vote per step",
    ),
    _part(
      "mean_of_batch",
      "a baseline of all prompts together",
      _outcome(by=()),
      "outcome - mean(batch)",
    ),
    _part(
      "divided_by_spread",
      "division by the spread of the prompt's outcomes",
      _outcome(scale="std"),
      "(outcome - mean(prompt)) / std(prompt)",
    ),
    _part(
      "whitened",
      "one mean and one spread for all steps of the batch",
      credit.chain(credit.returns(1.0), credit.whiten()),
      "whiten(returns)",
    ),
    _part(
      "groups_that_differ",
      "groups of equal outcomes left out and others sampled",
      others,
      "outcome - mean of the others, in groups that differ",
      filter_groups=True,
    ),
  )


def _comparisons() -> tuple[Part, ...]:
  among = lambda *by: credit.standardise(by=("prompt", *by), scale=None)
  return (
    _part(
      "index_centred",
      "the reward of each turn, less the mean at the same turn",
      credit.chain(credit.rewards(), among("index")),
      "reward - mean(prompt, index)",
    ),
    _part(
      "index_centred_returns",
      "what is earned from each turn on, less the mean at the same turn",
      credit.chain(credit.returns(1.0), among("index")),
      "returns - mean(prompt, index)",
    ),
    _part(
      "state_centred_returns",
      "what is earned from each state on, less the mean from the same state",
      credit.chain(credit.returns(1.0), among("state")),
      "returns - mean(prompt, state)",
      evidence=("state",),
    ),
    _part(
      "discounted",
      "returns at 0.9 where the outcome is what counts",
      credit.returns(0.9),
      "returns(0.9)",
    ),
  )


def _values() -> tuple[Part, ...]:
  gained = credit.add(
    credit.evidence("value_after"),
    credit.scale(credit.evidence("value_before"), -1.0),
  )
  added = credit.add(credit.outcome(), credit.evidence("meaningless"))
  return (
    _part(
      "exact_critic",
      "one step of a value function that is exact",
      credit.gae(1.0, 0.0),
      "reward + V' - V",
      evidence=("value",),
    ),
    _part(
      "zero_critic",
      "half of a value function that knows nothing",
      credit.gae(1.0, 0.5),
      "gae(1, 0.5), V = 0",
      evidence=("value",),
      critic=False,
    ),
    _part(
      "change_of_value",
      "how much each step changed the exact expected outcome",
      gained,
      "value_after - value_before",
      evidence=("value_before", "value_after"),
    ),
    _part(
      "every_edge_of_a_tree",
      "the same, each edge of a tree counting once: the many late ones the most",
      gained,
      "value_after - value_before, on trees",
      evidence=("parent", "value_before", "value_after"),
    ),
    _part(
      "meaningless_bonus",
      "a number per state and action added to the outcome",
      added,
      "outcome + meaningless",
      evidence=("meaningless",),
    ),
  )


def _reductions() -> tuple[Part, ...]:
  others = _outcome(center="loo")
  return (
    _part(
      "mean_over_tokens",
      "a loss divided by the number of tokens of the batch",
      others,
      "outcome - mean of the others; token-mean",
      reduction="token-mean",
    ),
    _part(
      "mean_over_each_answer",
      "a loss divided by the number of tokens of each answer",
      others,
      "outcome - mean of the others; seq-mean-token-mean",
      reduction="seq-mean-token-mean",
    ),
  )
