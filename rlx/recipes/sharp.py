"""SHARP: agents of one policy paid for what the team would miss of them."""

from rlx import credit, objective, ranges
from rlx.recipes import recipe
from rlx.rollout.plans import masked_agents


def sharp(
  *,
  marginal_weight: float = 0.5,
  tool_weight: float = 0.1,
  scale: bool = True,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """The team's outcome, each agent's part in it, and its tools, per agent.

      R[i, m] = R[i] + marginal_weight * (R[i] - R[i without m])
              + tool_weight * tool[i, m]
      A = standardise(R, by prompt and role)

  What an agent m adds to trajectory i is seen by masking it, one at a time,
  which approximates its Shapley value (`evidence.shapley` has the exact one).
  Agents are compared with the same agent of other trajectories, of which each
  has one vote, however often the agent acted there.

  Args:
    marginal_weight: of the column "marginal". The default is ours.
    tool_weight: of the column "tool", averaged over the agent's steps of the
      trajectory. The default is ours.
    scale: divide by the standard deviation of the group (with n - 1).
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: SHARP 2026, arXiv:2602.08335. What a trajectory is without an agent is
  inferred. [note]
  """
  ranges.at_least(0, marginal_weight=marginal_weight, tool_weight=tool_weight)
  by = "std" if scale else None
  agent = lambda name: credit.chain(
    credit.evidence(name), credit.merge(by=("trajectory", "role"))
  )
  return recipe.Recipe(
    name="sharp",
    credit=credit.chain(
      credit.add(
        credit.outcome(),
        credit.scale(agent("marginal"), marginal_weight),
        credit.scale(agent("tool"), tool_weight),
      ),
      credit.standardise(
        by=("prompt", "role"),
        vote=credit.share("trajectory", "role"),
        scale=by,
      ),
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = standardise(outcome + {marginal_weight} marginal"
    f" + {tool_weight} tool, by=prompt,role, scale={by})",
    min_group=2,
    source="SHARP 2026, arXiv:2602.08335",
    confidence="note",
    departures=(
      "both weights are ours: theirs were not recovered",
      "several steps of one agent share one vote and their mean evidence",
      "a masked agent says nothing in its turns, and the last answer is sampled"
      " anew (inferred)",
    ),
    evidence=("role", "marginal", "tool"),
    plan=masked_agents.masked_agents(),
    verbs=("sample", "edit", "continue_from", "score"),
  )
