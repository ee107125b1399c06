"""PAV: steps paid for what they do for the chances of another policy."""

from rlx import credit, objective
from rlx.credit import gains
from rlx.recipes import recipe
from rlx.rollout import segments
from rlx.rollout.plans import chain


def pav(
  *,
  alpha: float = 0.5,
  best_of: int = 4,
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
  and b(Q) that of a prover that has the best of several attempts of the policy.
  A prover of one attempt is the policy itself and tells nothing new.

  Args:
    alpha: weight of the progress; theirs is 0.2 to 0.6, and 5 in the code of
      SPO.
    best_of: attempts of the prover.
    baseline: take Q before the step from Q, so that A is 0 where nothing
      changes.
    continuations: of each prefix.
    step_tokens: of a step of a completion; the steps of an episode are its
      turns.
    max_tokens: of a continuation; None for what a completion may have.
    max_steps: of a completion; where there would be more, steps are longer.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Setlur et al. 2024, arXiv:2410.08146; the prover as the code of
  arXiv:2505.23564 has it. That steps are of equal numbers of tokens is
  inferred. [note]
  """
  level = gains.gain() if baseline else credit.evidence("value_after")
  own = "value_after" + " - value_before" * baseline
  return recipe.Recipe(
    name="pav",
    credit=credit.add(level, credit.scale(gains.gain(best_of), alpha)),
    objective=objective.clipped(clip, terms),
    formula=f"A = {own} + {alpha} best_of({best_of}) of value_after - before",
    source="Setlur et al. 2024, arXiv:2410.08146",
    confidence="note",
    departures=(
      "values are estimated anew from every batch, theirs by a model that was"
      " trained on 20 continuations of each prefix",
      "steps of completions are of step_tokens tokens, theirs are lines",
    ),
    evidence=("value_before", "value_after"),
    plan=chain.chain(
      segments.every(step_tokens),
      chain.Judge(continuations, max_tokens, prompt=True),
      max_steps=max_steps,
    ),
    verbs=("sample", "continue_from"),
  )
