"""PaCoRe: on-policy PPO without a ratio, for the round of synthesis."""

from rlx import credit, objective, ranges
from rlx.recipes import recipe
from rlx.rollout import plan
from rlx.rollout.plans import synthesis


def pacore(
  *,
  whiten: bool = True,
  fewest: int = 16,
  most: int = 24,
  easiest: float = 0.375,
  value: objective.ValueTerm = objective.ValueTerm(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """The policy gradient with a learned value as baseline, on fresh tokens.

      A_t = outcome - V_t = gae(1, 1),  loss = -A log pi

  The policy answers a question given the messages of earlier answers to it; it
  is trained on that answer alone, with one update per batch, so that there is
  no ratio to clip.

  Args:
    whiten: standardise the advantages over all tokens of the batch.
    fewest: messages that an answer has read, or all where there are fewer.
    most: messages that it has read; 0 for the stage of RL before the synthesis,
      which reads none.
    easiest: prompts are learnt from whose messages succeed sometimes, but less
      often. 9/24 is for mathematics, 15/24 for code.
    value: loss of the value function.
    terms: what stands beside the policy gradient, and the reduction.
      `importance_cap` is None; 8 in the stage of RL before the synthesis.

  Source: Hu et al. 2026 (PaCoRe), arXiv:2601.05593. The whitening is inferred.
  [paper]
  """
  ranges.at_least(0, most=most)
  ranges.above(0, easiest=easiest)
  return recipe.Recipe(
    name="pacore",
    credit=credit.chain(credit.gae(), *[credit.whiten()] * whiten),
    objective=objective.reinforce(terms, value),
    level="token",
    formula="A = " + "whiten of " * whiten + "gae(1, 1), -A log pi",
    value_targets=credit.lambda_returns(),
    source="Hu et al. 2026, arXiv:2601.05593",
    confidence="paper",
    departures=(
      "that the advantages are whitened is inferred; whiten=False does not",
      "messages are whole answers of recent policies, fewer than 16 at first;"
      " theirs are conclusions, all sampled before the stage begins",
    ),
    evidence=("value",),
    plan=synthesis.synthesis(fewest=fewest, most=most, easiest=easiest)
    if most
    else plan.sample(),
    verbs=("sample", "edit", "continue_from", "filter", "buffer"),
  )
