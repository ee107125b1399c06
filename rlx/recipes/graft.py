"""GRAFT: advantages of the values of states on the graph of a prompt."""

from rlx import credit, objective
from rlx.recipes import recipe


def graft(
  *,
  discount: float = 0.99,
  lambda_: float = 0.95,
  sweeps: int = 32,
  scale: bool = True,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """A critic without a network: Bellman's equation on the states that recur.

      V(u) = discount * mean over edges u -> v of V(v), a sink being worth R
      delta = discount * V(next) - V(state)
      A = standardise(sum_k (discount lambda_)^k delta[t + k], by prompt, state)

  A prompt's trajectories are laid over each other as a graph, and what one of
  them found behind a state counts for all that passed there. A step is compared
  with the other steps that left its state; from a state left once there is
  nothing to learn.

  Args:
    discount: per step, the last one included.
    lambda_: 1 for all residuals to the end, 0 for the step's own. Theirs are
      0.95, 0.8 and 0.6, by task.
    sweeps: of the equation over all edges. As many as the longest trajectory
      has steps are exact where no state comes back; a cycle converges by
      `discount` a sweep.
    scale: divide by the standard deviation of the node (with n - 1).
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: GRAFT (a peer of SALT, arXiv:2510.20022). The recursion of residuals
  along the trajectory rather than the graph, and one vote for each time that an
  edge was taken, are inferred. [paper]
  """
  node, by = ("prompt", "state"), "std" if scale else None
  return recipe.Recipe(
    name="graft",
    credit=credit.chain(
      credit.outcome(),
      credit.graph_gae(discount, lambda_, sweeps, by=node),
      credit.standardise(by=node, scale=by),
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = standardise(gae(V, {discount}, {lambda_}), by=prompt,state,"
    f" scale={by}), V = merge({discount} V(next), by=prompt,state)"
    f" x {sweeps} sweeps",
    min_group=2,
    source="GRAFT, a peer of SALT",
    confidence="paper",
    departures=(
      "the residuals are summed along the trajectory (inferred)",
      "an edge votes as often as it was taken (inferred)",
    ),
    evidence=("state",),
    verbs=("sample", "score"),
  )
