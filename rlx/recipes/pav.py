"""PAV: steps paid for what they do for the chances of another policy."""

import functools
from typing import Literal

from rlx import credit, objective, ranges
from rlx.credit import gains
from rlx.evidence import prover as provers
from rlx.recipes import recipe
from rlx.rollout import segments, verbs
from rlx.rollout.plans import chain, judge


def pav(
  *,
  alpha: float = 0.5,
  prover: Literal["best_of", "policy"] = "best_of",
  best_of: int = 4,
  prover_learning_rate: float = 1e-6,
  baseline: bool = False,
  continuations: int = 20,
  step_tokens: int = 64,
  max_tokens: int | None = None,
  max_steps: int = 16,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """The value after a step, and how far it raised that of a prover.

      A = Q + alpha (b(Q) - b(Q before)),  b(q) = 1 - (1 - q)^best_of

  Q is the mean outcome of continuations of the prefix that ends with the step,
  and b(Q) that of a prover that has the best of several attempts of the policy,
  where outcomes are 0 to 1. A prover of one attempt is the policy itself and
  tells nothing new. Or the prover is a policy of its own, which imitates what
  succeeded, and its Q stands for b(Q).

  Args:
    alpha: weight of the progress; theirs is 0.2 to 0.6, and 5 in the code of
      SPO.
    prover: "policy" trains one, and takes as many continuations again.
    best_of: attempts of the prover that is made of the policy.
    prover_learning_rate: of the prover that is a policy.
    baseline: take Q before the step from Q, so that A is 0 where nothing
      changes.
    continuations: of each prefix.
    step_tokens: of a step of a completion; the steps of an episode are its
      turns.
    max_tokens: of a continuation; None for what a completion may have.
    max_steps: of a completion; where there would be more, steps are longer.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Setlur et al. 2024, arXiv:2410.08146; best_of as the code of
  arXiv:2505.23564 has it. That steps are of equal numbers of tokens, and a
  prover that imitates, are inferred. [note]
  """
  ranges.at_least(0, alpha=alpha, prover_learning_rate=prover_learning_rate)
  ranges.at_least(1, best_of=best_of, continuations=continuations)
  ranges.at_least(1, step_tokens=step_tokens, max_tokens=max_tokens)
  ranges.at_least(1, max_steps=max_steps)
  own_prover = prover == "policy"
  progress = gains.gain(of="prover") if own_prover else gains.gain(best_of)
  learner = functools.partial(
    provers.prover, learning_rate=prover_learning_rate
  )
  level = gains.gain() if baseline else credit.evidence("value_after")
  own = "value_after" + " - value_before" * baseline
  return recipe.Recipe(
    name="pav",
    credit=credit.add(level, credit.scale(progress, alpha)),
    objective=objective.clipped(clip, terms),
    formula=f"A = {own} + {alpha} "
    + ("prover_" if own_prover else f"best_of({best_of}) of value_")
    + "after - before",
    source="Setlur et al. 2024, arXiv:2410.08146",
    confidence="note",
    departures=(
      "values are estimated anew from every batch, theirs by a model that was"
      " trained on 20 continuations of each prefix",
      "steps of completions are of step_tokens tokens, theirs are lines",
    ),
    evidence=(
      *("value_before", "value_after"),
      *("prover_before", "prover_after") * own_prover,
    ),
    providers=(learner,) * own_prover,
    plan=chain.chain(
      segments.every(step_tokens),
      judge.Judge(continuations, max_tokens, prompt=True),
      max_steps=max_steps,
      prover=_prover if own_prover else None,
    ),
    verbs=("sample", "continue_from"),
  )


def _prover(do: verbs.Verbs) -> verbs.Verbs:
  """Returns the verbs under the prover's parameters."""
  assert do.under is not None  # Bound by the loop, with the providers' state.
  (state,) = do.evidence
  return do.under(state["params"])
