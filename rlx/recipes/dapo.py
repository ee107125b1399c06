"""DAPO: GRPO with a wider upper clip, all tokens alike, no dead groups."""

from rlx import credit, objective
from rlx.recipes import recipe


def dapo(
  *,
  filter_groups: bool = True,
  clip: objective.Clip = objective.Clip(epsilon_low=0.2, epsilon_high=0.28),
  terms: objective.Terms = objective.Terms(reduction="token-mean"),
) -> recipe.Recipe:
  """GRPO's advantages, and four changes around them.

      A_i = (R_i - mean R) / (std R + 1e-6)
      1. clip-higher: rho in [1 - 0.2, 1 + 0.28], so that rare tokens may rise
      2. dynamic sampling: groups of equal outcomes are replaced by others
      3. the mean is over all tokens, not over sequences of tokens
      4. overlong shaping: answers near the limit of length cost up to 1

  No divergence from a reference.

  Args:
    filter_groups: dynamic sampling; how many more rollouts it may cost stands
      in the configuration of the rollout.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Yu et al. 2025, arXiv:2503.14476, Eq. 8. [code]
  """
  return recipe.Recipe(
    name="dapo",
    credit=credit.chain(
      credit.outcome(), credit.standardise(by=("prompt",), vote="vote")
    ),
    objective=objective.clipped(clip, terms),
    formula="A = standardise(outcome, by=prompt, scale=std),"
    f" clip [{1 - clip.epsilon_low:g}, {1 + clip.epsilon_high:g}]",
    min_group=2,
    source="Yu et al. 2025, arXiv:2503.14476, Eq. 8",
    confidence="code",
    departures=(
      "overlong shaping is a reward of the task: rewards.format.soft_overlong",
      "truncated answers stay in the loss; leaving them out is optional there",
      "a lone sample gets 0; verl gives it its outcome",
    ),
    filter_groups=filter_groups,
    verbs=("sample", "filter") if filter_groups else ("sample",),
  )
