"""GPG: the plain policy gradient of groups, made up for the silent ones."""

from typing import Literal

import jax.numpy as jnp

from rlx import credit, objective, ranges
from rlx.credit import groups
from rlx.recipes import recipe


def gpg(
  *,
  count: Literal["outcome", "advantage"] = "outcome",
  norm: float = 1.0,
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """An outcome less its prompt's mean, times samples per sample that counts.

      A_i = alpha (R_i - mean R) / norm
      alpha = samples of the batch / samples whose `count` is not 0

  No ratio, no clip and no reference.

  Args:
    count: what a sample that counts has: an "outcome", as in verl's code, or an
      "advantage", as in the paper, which makes up for the groups of equal
      outcomes, that have no gradient.
    norm: the paper's F_norm, a constant divisor.
    terms: what stands beside the policy gradient, and the reduction.

  Source: Chu et al. 2025, arXiv:2504.02546. [code]
  """
  ranges.above(0, norm=norm)
  return recipe.Recipe(
    name="gpg",
    credit=credit.chain(
      credit.outcome(),
      credit.standardise(by=("prompt",), vote="vote", scale=None),
      _make_up(count, norm),
    ),
    objective=objective.reinforce(terms),
    formula="A = alpha standardise(outcome, by=prompt, scale=none)"
    f" / {norm:g}, alpha = samples / nonzero {count}s",
    min_group=2,
    source="Chu et al. 2025, arXiv:2504.02546",
    confidence="code",
    departures=(
      "alpha counts outcomes, as the code; count='advantage' is the paper's",
      "a lone sample gets 0; verl gives it its outcome",
    ),
  )


def _make_up(count: str, norm: float) -> credit.Estimator:
  """The signal times alpha / norm."""

  def f(signal, steps):
    vote = groups.votes(steps, "vote")
    counted = steps.outcome if count == "outcome" else signal
    counting = jnp.sum(jnp.where(counted != 0, vote, 0.0))
    return signal * jnp.sum(vote) / (jnp.maximum(counting, 1.0) * norm)

  return credit.stateless(f)
