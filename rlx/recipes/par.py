"""PAR: a reward counts by how surely it beats a reference answer's."""

import jax.numpy as jnp

from rlx import credit, objective, ranges
from rlx.credit import estimator
from rlx.evidence import shaping
from rlx.recipes import recipe


def par(
  *,
  slope: float = 1.0,
  references: int = 1,
  scale: bool = True,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(reduction="seq-mean-token-mean"),
) -> recipe.Recipe:
  """GRPO on the chance of being preferred to the references.

      A = standardise(mean_j sigma(slope (R - R_j)), by prompt)

  Far above the reference there is little left to gain, so that a proxy is not
  worth cheating. The rewards of the references, fixed per prompt, are the
  columns "reference_reward/0" .. on a trajectory's last row. The shape alone,
  for any other recipe, is `evidence.shaping.against_references`.

  Args:
    slope: k; towards 0 all outcomes become 1/2.
    references: how many there are; one suffices.
    scale: divide by the standard deviation of the group (with n - 1).
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Fu et al. 2025 (PAR), arXiv:2502.18770. [code]
  """
  ranges.at_least(0, slope=slope)
  ranges.at_least(1, references=references)
  if references < 1:
    raise ValueError(f"references={references}: at least one is needed")
  by = "std" if scale else None
  names = tuple(f"reference_reward/{j}" for j in range(references))
  last = credit.final()

  def preferred(outcome, steps):
    read = lambda name: credit.column(steps, name).astype(outcome.dtype)
    columns = [last.update(read(name), (), steps)[0] for name in names]
    return shaping.par(outcome, jnp.stack(columns, -1), slope)

  return recipe.Recipe(
    name="par",
    credit=credit.chain(
      credit.outcome(),
      estimator.stateless(preferred),
      credit.standardise(by=("prompt",), vote="vote", scale=by),
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = standardise(mean_j sigmoid({slope} (outcome -"
    f" reference_reward/j)), by=prompt, scale={by}), j < {references}",
    min_group=2,
    source="Fu et al. 2025, arXiv:2502.18770",
    confidence="code",
    departures=(
      "the baseline is GRPO's; theirs is PPO with a value function and"
      " kl_coef 0.005, which `ppo` on the shaped reward is",
    ),
    evidence=names,
    verbs=("sample", "score"),
  )
