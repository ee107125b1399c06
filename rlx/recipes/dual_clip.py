"""Dual clip: GRPO with a bounded loss where the advantage is negative."""

from rlx import credit, objective
from rlx.recipes import recipe


def dual_clip(
  *,
  clip: objective.Clip = objective.Clip(dual_clip=3.0),
  terms: objective.Terms = objective.Terms(reduction="seq-mean-token-mean"),
) -> recipe.Recipe:
  """GRPO's advantages under a clip that also bounds large ratios of failures.

      A_i = (R_i - mean R) / (std R + 1e-6)
      loss = max(-rho A, -clip(rho) A),  and where A < 0 at most -dual_clip A

  PPO's loss has no bound where A < 0 and the ratio is large, as it is for
  tokens of an old policy.

  Args:
    clip: range of the ratio; `dual_clip` is the bound, UI-S1 has 10.
    terms: what stands beside the surrogate, and the reduction.

  Source: Ye et al. 2020, arXiv:1912.09729. [code]
  """
  return recipe.Recipe(
    name="dual_clip",
    credit=credit.chain(
      credit.outcome(), credit.standardise(by=("prompt",), vote="vote")
    ),
    objective=objective.clipped(clip, terms),
    formula="A = standardise(outcome, by=prompt, scale=std),"
    f" loss <= -{clip.dual_clip} A where A < 0",
    min_group=2,
    source="Ye et al. 2020, arXiv:1912.09729",
    confidence="code",
    departures=(
      "advantages of GRPO; the paper's are those of an actor-critic",
      "a lone sample gets 0; verl gives it its outcome",
    ),
  )
