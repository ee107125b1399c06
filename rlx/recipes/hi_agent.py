"""Hi-Agent: a sub-goal is scored by what the low level does with it at once."""

from rlx import credit, objective, ranges
from rlx.recipes import recipe
from rlx.rollout import plan
from rlx.rollout.plans import foresight


def hi_agent(
  *,
  by_state: bool = False,
  look_ahead: int = 2,
  format_weight: float = 0.1,
  execution_weight: float = 0.6,
  judge_weight: float = 0.3,
  scale: bool = True,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(reduction="seq-mean-token-mean"),
) -> recipe.Recipe:
  """Each level's own score of a step, compared at the same step and level.

      A = standardise(process, by prompt, index and role)

  Two roles take turns. A sub-goal's score looks one step ahead: whether it is
  well formed, what the low level then does, and a judge (`evidence.foresight`);
  an action's is whether it matches. As steps are scored one by one, n samples
  of each of T steps do for what would take n^T trajectories. Every step starts
  from a recorded one, so that rows of one index are alike.

  Args:
    by_state: compare rows of one state only, besides; with states that tell the
      sub-goal this is the low level's key (task, step, sub-goal).
    look_ahead: actions that are sampled for each sub-goal; 0 for a task that
      says itself what each step is worth and whose it is.
    format_weight: of a sub-goal that is well formed. The default is ours,
    execution_weight: of what the actions were paid, too,
    judge_weight: and of the judge's opinion.
    scale: divide by the standard deviation of the group (with n - 1).
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Hi-Agent 2025, arXiv:2510.14388. The formulas are inferred from the
  abstract and from reviews. [abstract]
  """
  ranges.at_least(0, look_ahead=look_ahead)
  ranges.at_least(0, format_weight=format_weight, judge_weight=judge_weight)
  ranges.at_least(0, execution_weight=execution_weight)
  by = "std" if scale else None
  key = ("prompt", "index", "role", *(["state"] if by_state else []))
  return recipe.Recipe(
    name="hi_agent",
    credit=credit.chain(
      credit.evidence("process"), credit.standardise(by=key, scale=by)
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = standardise(process, by={','.join(key)}, scale={by})",
    min_group=2,
    source="Hi-Agent 2025, arXiv:2510.14388",
    confidence="abstract",
    departures=(
      "formulas are inferred, and the weights of the foresight are ours",
      "the low level is not split by sub-goal; by_state=True does that",
      "both levels learn in the same update; theirs alternate",
    ),
    evidence=("process", "role", *(["state"] if by_state else [])),
    plan=foresight.foresight(
      look_ahead=look_ahead,
      format_weight=format_weight,
      execution_weight=execution_weight,
      judge_weight=judge_weight,
    )
    if look_ahead
    else plan.sample(),
    verbs=("sample", "continue_from", "score"),
  )
