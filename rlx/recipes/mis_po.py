"""MIS-PO: tokens of an old policy are left out, not weighed."""

import functools

from rlx import credit, objective, ranges
from rlx.objective import filters
from rlx.recipes import recipe


def mis_po(
  *,
  token_low: float = 0.5,
  token_high: float = 2.0,
  sequence_low: float = 0.996,
  sequence_high: float = 1.001,
  bootstrap: bool = True,
  whiten: bool = True,
  value: objective.ValueTerm = objective.ValueTerm(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """The policy gradient over the tokens on which sampler and trainer agree.

      x_t = pi_old(token) / pi_sampler(token)
      kept = x_t in [token_low, token_high]
             and (product of x over the sequence)^(1/T) in [sequence_low, _high]
      loss = -kept A log pi,  A = whiten of gae(1, 1)

  A weight on a token that the trainer hardly believes in has a variance that no
  truncation cures; a filter of 0 and 1 has none. Where it keeps nothing the
  loss is 0.

  Args:
    token_low: least ratio of a token.
    token_high: greatest ratio of a token.
    sequence_low: least geometric mean of a sequence's ratios.
    sequence_high: greatest geometric mean of a sequence's ratios.
    bootstrap: what ran into a limit ends with the value of where it was cut,
      the column "bootstrap_value" that the learner fills, instead of 0.
    whiten: standardise the advantages over all tokens of the batch.
    value: loss of the value function.
    terms: what stands beside the policy gradient, and the reduction.

  Source: StepFun 2026 (Step 3.5 Flash), arXiv:2602.10604. [paper]
  """
  ranges.above(0, token_high=token_high, sequence_high=sequence_high)
  ranges.between(0, token_high, token_low=token_low)
  ranges.between(0, sequence_high, sequence_low=sequence_low)
  past_end = "bootstrap_value" if bootstrap else None
  keep = functools.partial(
    filters.bands,
    token=(token_low, token_high),
    sequence=(sequence_low, sequence_high),
  )
  return recipe.Recipe(
    name="mis_po",
    credit=credit.chain(
      credit.gae(bootstrap=past_end), *[credit.whiten()] * whiten
    ),
    objective=objective.reinforce(terms, value, keep),
    level="token",
    formula="A = " + "whiten of " * whiten + "gae(1, 1), -kept A log pi",
    value_targets=credit.lambda_returns(bootstrap=past_end),
    source="StepFun 2026, arXiv:2602.10604",
    confidence="paper",
    departures=(
      "tokens left out stay in the denominator, and in the value loss",
      "a sequence is a row of tokens: all turns of an episode together",
    ),
    evidence=("value", "bootstrap_value") if bootstrap else ("value",),
    verbs=("sample", "score"),
  )
