"""Pass@k: credit for the best sample of a prompt alone."""

import jax.numpy as jnp

from rlx import credit, objective
from rlx.credit import groups, kernels
from rlx.recipes import recipe


def pass_at_k(
  *,
  scale: bool = True,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """What the best of a prompt's k samples added to the best of the others.

      A_i = (R_i - second best R) / (std R + 1e-6)  for the best, 0 for others

  The gradient of the expected best of k, with k the size of the group: the
  others could have been left out without a loss. Where two are equally good
  neither was needed.

  Args:
    scale: divide by the standard deviation of the group (with n - 1).
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Tang et al. 2025, arXiv:2503.19595. [code]
  """
  return recipe.Recipe(
    name="pass_at_k",
    credit=credit.chain(
      credit.outcome(),
      credit.standardise(
        by=("prompt",), vote="vote", scale="std" if scale else None
      ),
      credit.stateless(_margin),
    ),
    objective=objective.clipped(clip, terms),
    formula="A = margin of the best of standardise(outcome, by=prompt,"
    f" scale={'std' if scale else 'none'})",
    min_group=2,
    source="Tang et al. 2025, arXiv:2503.19595",
    confidence="code",
    departures=("a lone sample gets 0; verl raises an error",),
  )


def _margin(signal, steps):
  """The signal of a prompt's best trajectory above the second best's."""
  key = groups.key(steps, ("prompt",))
  vote = groups.votes(steps, "vote")
  live = vote > 0
  outcome = jnp.where(live, steps.outcome, -jnp.inf)
  best = live & (outcome == kernels.keyed_max(outcome, key))
  alone = kernels.keyed_sum(jnp.where(best, vote, 0.0), key) < 1.5
  rest = jnp.where(live & ~best, signal, -jnp.inf)
  second = kernels.keyed_max(rest, key)
  margin = signal - jnp.where(jnp.isfinite(second), second, signal)
  return jnp.where(best & alone, margin, 0.0)
