"""PORTool: steps against their forks, and trajectories against each other."""

from typing import Literal

from rlx import credit, objective, ranges
from rlx.credit import trees
from rlx.recipes import recipe
from rlx.rollout.plans import tree


def portool(
  *,
  discount: float = 0.95,
  how: Literal["mean", "max"] = "mean",
  trajectory_weight: float = 1.0,
  fork_weight: float = 1.0,
  node: bool = False,
  fan_out: int = 2,
  max_depth: int = 15,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """A step's reward is that of all trajectories through it.

      R(step) = mean over them of discount^(T - t) outcome, + R_node(step)
      A = trajectory_weight * A_traj + fork_weight * standardise(R, by siblings)

  A_traj standardises the sums of R along the trajectories of a prompt; a step
  has the mean over the trajectories through it. An only child has no fork.

  Args:
    discount: per step before the trajectory's end.
    how: "max" takes the best trajectory through a step instead of the mean.
    trajectory_weight: of the comparison between trajectories.
    fork_weight: of the comparison between siblings.
    node: add the column "node" of the task, as for its format and the success
      of a tool; it should stay within discount^turns / 2, so that being right
      matters more.
    fan_out: most children of a node. There are as many trajectories of a prompt
      as its group has samples.
    max_depth: deepest step, from 0; an episode may have one turn more.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: arXiv:2510.26020 (PORTool), 2025. How the trajectories through a step
  are aggregated, both weights and A_traj are inferred. [note]
  """
  ranges.between(0, 1, discount=discount)
  ranges.at_least(0, trajectory_weight=trajectory_weight)
  ranges.at_least(0, fork_weight=fork_weight)
  reward = credit.chain(
    credit.outcome(),
    trees.fuse(max_depth=max_depth, how=how, discount=discount, vote="leaf"),
  )
  if node:
    reward = credit.add(reward, credit.evidence("node"))
  paths = credit.chain(
    trees.path_sum(max_depth=max_depth),
    trees.among_leaves(credit.standardise(by=("prompt",))),
    trees.fuse(max_depth=max_depth, vote="leaf"),
  )
  forks = credit.standardise(by=trees.SIBLINGS)
  return recipe.Recipe(
    name="portool",
    credit=credit.chain(
      reward,
      credit.add(
        credit.scale(paths, trajectory_weight),
        credit.scale(forks, fork_weight),
      ),
    ),
    objective=objective.clipped(clip, terms),
    formula=f"R = fuse({how} of {discount}^(T-t) outcome){' + node' * node};"
    f" A = {trajectory_weight} standardise(sums of R, by=prompt)"
    f" + {fork_weight} standardise(R, by=siblings)",
    min_group=2,
    source="PORTool 2025, arXiv:2510.26020",
    confidence="note",
    departures=(
      "mean, both weights of 1 and A_traj are inferred; how='max' is what the"
      " revised abstract suggests",
      "the format's and the tools' reward is in node=True, and scaled by the"
      " task",
    ),
    evidence=("parent", "depth", "tree", *["node"] * node),
    plan=tree.forks(fan_out, max_depth=max_depth),
    verbs=("continue_from",),
  )
