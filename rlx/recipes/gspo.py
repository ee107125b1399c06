"""GSPO: GRPO with one ratio for a whole answer."""

from rlx import credit, objective
from rlx.recipes import recipe


def gspo(
  *,
  clip: objective.Clip = objective.Clip(
    epsilon_low=3e-4, epsilon_high=4e-4, ratio_level="sequence"
  ),
  terms: objective.Terms = objective.Terms(reduction="seq-mean-token-mean"),
) -> recipe.Recipe:
  """GRPO's advantages under the geometric mean of an answer's ratios.

      A_i = (R_i - mean R) / (std R + 1e-6)
      s_i = (pi(answer) / pi_old(answer))^(1 / length), in its token form
            sg(s_i) pi(token) / sg(pi(token))

  What is rewarded is the answer, so the answer is what is clipped. The mean
  moves far less than the ratio of a token does, hence the narrow range.

  Args:
    clip: range of the ratio. With `ratio_level` "step" each step of an episode
      has a ratio of its own.
    terms: what stands beside the surrogate, and the reduction.

  Source: Zheng et al. 2025, arXiv:2507.18071. [code]
  """
  return recipe.Recipe(
    name="gspo",
    credit=credit.chain(
      credit.outcome(), credit.standardise(by=("prompt",), vote="vote")
    ),
    objective=objective.clipped(clip, terms),
    formula="A = standardise(outcome, by=prompt, scale=std),"
    f" ratio per {clip.ratio_level}",
    min_group=2,
    source="Zheng et al. 2025, arXiv:2507.18071",
    confidence="code",
    departures=(
      "a sequence is a row of tokens: all turns of an episode together",
      "a lone sample gets 0; verl gives it its outcome",
    ),
  )
