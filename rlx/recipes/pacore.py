"""PaCoRe's objective: on-policy PPO without a ratio, for the synthesis round."""

from rlx import credit, objective
from rlx.recipes import recipe


def pacore(
  *,
  whiten: bool = True,
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
    value: loss of the value function.
    terms: what stands beside the policy gradient, and the reduction.
      `importance_cap` is None; 8 in the stage of RL before the synthesis.

  Source: Hu et al. 2026 (PaCoRe), arXiv:2601.05593. [paper]
  """
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
    ),
    evidence=("value",),
    verbs=("sample", "score"),
  )
