"""Tree-GRPO: steps against their siblings and against those of all trees."""

from rlx import credit, objective, ranges
from rlx.credit import trees
from rlx.recipes import recipe
from rlx.rollout.plans import tree


def tree_grpo(
  *,
  mix: float = 0.5,
  num_trees: int = 2,
  branches: str = "2,2",
  segment_tokens: int = 256,
  max_depth: int = 15,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """The outcomes below a step, compared within its tree and between trees.

      R(leaf) = outcome,  R(node) = mean over the leaves below
      A = mix * standardise(R, by siblings) + (1 - mix) * A_all

  A_all standardises the outcomes of all trajectories of a prompt, whichever
  tree they are of; a step has the mean over the trajectories through it.

  Args:
    mix: weight of the comparison with siblings; the rest is that between trees.
    num_trees: of a prompt.
    branches: children of a node, level by level.
    segment_tokens: most of a node, if the longest completion has room for that
      many on every level; those of the last level go on to the end. The nodes
      of an episode's tree are its turns.
    max_depth: deepest step, from 0; an episode may have one turn more.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Tree-GRPO 2025, arXiv:2509.21240 (ICLR 2026). The weights, the shape
  of the trees and that A_all counts trajectories and not steps are inferred.
  [note]
  """
  ranges.between(0, 1, mix=mix)
  ranges.at_least(1, num_trees=num_trees)
  fuse = trees.fuse(max_depth=max_depth, vote="leaf")
  every = credit.chain(
    trees.among_leaves(credit.standardise(by=("prompt",))), fuse
  )
  siblings = credit.chain(fuse, credit.standardise(by=trees.SIBLINGS))
  return recipe.Recipe(
    name="tree_grpo",
    credit=credit.chain(
      credit.outcome(),
      credit.add(credit.scale(siblings, mix), credit.scale(every, 1 - mix)),
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = {mix} standardise(fuse(outcome), by=siblings)"
    f" + {1 - mix} fuse(standardise(outcome, by=prompt))",
    min_group=2,
    source="Tree-GRPO 2025, arXiv:2509.21240",
    confidence="note",
    departures=(
      "trees have fixed branches; theirs grow from whole trajectories at nodes"
      " that are drawn",
    ),
    evidence=("parent", "depth", "tree"),
    plan=tree.tree(
      tree.parse(branches),
      segment_tokens=segment_tokens,
      trees=num_trees,
      max_depth=max_depth,
    ),
    verbs=("continue_from",),
  )
