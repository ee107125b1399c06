"""PRIME gate: an answer pays only if its derivation holds as well."""

from rlx import credit, objective, ranges
from rlx.recipes import recipe


def prime_gate(
  *,
  threshold: float = 0.5,
  graded: bool = False,
  scale: bool = True,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(reduction="seq-mean-token-mean"),
) -> recipe.Recipe:
  """GRPO on [the answer is right] * [the derivation is right].

      A = standardise([R > threshold] * [process > threshold], by prompt)

  A right answer that was guessed is worth nothing. The verdict on the
  derivation is the column "process" on a trajectory's last row.

  Args:
    threshold: above which a score is a pass.
    graded: multiply the scores themselves instead, R * process.
    scale: divide by the standard deviation of the group (with n - 1).
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: the PRIME benchmark 2026, arXiv:2602.11570 (process-aware RLVR, not
  the implicit process reward of that name). The gate is inferred. [abstract]
  """
  ranges.finite(threshold=threshold)
  by = "std" if scale else None
  passed = credit.chain() if graded else credit.above(threshold)
  verdict = credit.chain(credit.evidence("process"), credit.final())
  gate = credit.multiply(
    credit.chain(credit.outcome(), passed), credit.chain(verdict, passed)
  )
  brackets = "outcome * final(process)"
  if not graded:
    brackets = f"[outcome > {threshold}] * [final(process) > {threshold}]"
  return recipe.Recipe(
    name="prime_gate",
    credit=credit.chain(
      gate, credit.standardise(by=("prompt",), vote="vote", scale=by)
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = standardise({brackets}, by=prompt, scale={by})",
    min_group=2,
    source="PRIME benchmark 2026, arXiv:2602.11570",
    confidence="abstract",
    departures=(
      "the gate is inferred; graded=True is the other reading",
      "groups that all fail, of which there are more than without the gate,"
      " get 0 and are not sampled again",
    ),
    evidence=("process",),
    verbs=("sample", "score"),
  )
