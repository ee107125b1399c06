"""SPO-tree: a segment against the other segments that its prefix was given."""

from typing import Literal

from rlx import credit, objective, ranges
from rlx.credit import keep, trees
from rlx.recipes import recipe
from rlx.rollout import branching
from rlx.rollout.plans import tree


def spo_tree(
  *,
  branches: str = "6,6,6",
  segment_tokens: int = 600,
  scale: Literal["none", "parent"] = "none",
  prover: float = 0.0,
  best_of: int = 4,
  drop_zeros: bool = True,
  drop_by: Literal["used", "prover"] = "used",
  uncertain: bool = False,
  keep_open: int = 0,
  budget: int = 0,
  max_depth: int = 15,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """The value of a node of a tree above that of its parent.

      V(leaf) = outcome,  V(node) = mean V of its children
      A = V(node) - V(parent), scaled by 1 / (std of the siblings + 1e-8) if
      asked; with prover p: A = V(node) + p (b(V(node)) - b(V(parent))),
      b(v) = 1 - (1 - v)^best_of

  Nodes whose children all came to the same teach nothing, and leave the
  denominators too.

  Args:
    branches: children of a node, level by level.
    segment_tokens: most of a node, if the longest completion has room for that
      many on every level; those of the last level go on to the end. The nodes
      of an episode's tree are its turns.
    scale: "parent" divides by the population's standard deviation of the
      parent's children, which the code calls "grpo"; theirs without is "rloo".
    prover: weight of the variant with a prover; the code has 5.
    best_of: attempts of the prover.
    drop_zeros: leave steps with advantage 0 out of the loss.
    drop_by: the advantages that decide that: those used, or the prover's (of
      weight 5 where it is off).
    uncertain: children of a level are dealt out by the uncertainty of their
      parents, and no longer evenly.
    keep_open: open nodes of a prompt that go on from a level, those whose
      segments were the likeliest; 0 for all.
    budget: new tokens that the tree of a prompt may take; 0 for any number.
    max_depth: deepest step, from 0; an episode may have one turn more.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Guo et al. 2025, arXiv:2505.23564, SPO-tree. [code]
  """
  ranges.at_least(0, prover=prover, keep_open=keep_open, budget=budget)
  ranges.at_least(1, best_of=best_of, segment_tokens=segment_tokens)
  value = credit.chain(credit.outcome(), trees.fuse(max_depth=max_depth))
  above = credit.standardise(
    by=trees.SIBLINGS,
    scale="std" if scale == "parent" else None,
    ddof=0.0,
    eps=1e-8,
  )
  made = credit.chain(value, above)
  formula = f"A = standardise(fuse(outcome), by=siblings, scale={scale})"
  raised = credit.scale(trees.difference(best_of), prover or 5.0)
  by = credit.chain(value, credit.add(credit.chain(), raised))
  if prover:
    made = credit.chain(
      value, credit.add(credit.chain(*[above] * (scale != "none")), raised)
    )
    formula = f"A = fuse(outcome) + {prover} best_of({best_of}) above parent"
  return recipe.Recipe(
    name="spo_tree",
    credit=made,
    objective=objective.clipped(clip, terms),
    formula=formula,
    min_group=2,
    source="Guo et al. 2025, arXiv:2505.23564, SPO-tree",
    confidence="code",
    departures=(
      "a node is dropped by the advantage that is used; theirs, by the prover's"
      " even where that is off, is drop_by='prover'",
      "all edges of a batch are learnt from at once, so that none are left to"
      " replay; theirs draw 512, and keep others for 8 iterations",
    ),
    evidence=("parent", "depth", "tree"),
    plan=tree.tree(
      tree.parse(branches),
      segment_tokens=segment_tokens,
      max_depth=max_depth,
      branching=branching.Branching(
        uncertain=uncertain, keep=keep_open, tokens=budget
      ),
    ),
    keep=keep.credited(by if drop_by == "prover" else None)
    if drop_zeros
    else None,
    verbs=("continue_from", "filter"),
  )
