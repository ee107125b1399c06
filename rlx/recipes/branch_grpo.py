"""BranchGRPO: nodes of a tree compared with those of their depth."""

from typing import Literal

from rlx import credit, objective, ranges
from rlx.credit import keep, trees
from rlx.recipes import recipe
from rlx.rollout import branching
from rlx.rollout.plans import tree


def branch_grpo(
  *,
  branches: str = "2,2,2,2",
  segment_tokens: int = 128,
  fuse: Literal["leaf", "child", "path"] = "leaf",
  limit: float = 5.0,
  width: Literal["all", "best", "extremes"] = "all",
  width_ratio: float = 0.5,
  window: int = 0,
  window_first: int = 3,
  window_last: int = 1,
  window_every: int = 30,
  uncertain: bool = False,
  keep_open: int = 0,
  budget: int = 0,
  max_depth: int = 15,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """The outcomes below a node, standardised within its tree and depth.

      R(leaf) = outcome,  R(node) = mean over the leaves below
      A = clip(standardise(R, by tree and depth), -limit, limit)

  A depth of one node gets 0. Pruning only narrows what is learnt from.

  Args:
    branches: children of a node, level by level.
    segment_tokens: most of a node, if the longest completion has room for that
      many on every level; those of the last level go on to the end. The nodes
      of an episode's tree are its turns.
    fuse: "leaf" means over leaves, "child" over children, which differ where
      some end early; "path" weighs children by their probability.
    limit: of an advantage.
    width: "best" learns from the best leaves below each last split, "extremes"
      from the best and worst of a tree; inner nodes always stay.
    width_ratio: the part of the leaves that this is.
    window: depths that are not learnt from; 0 for none.
    window_first: where the window begins at first,
    window_last: and in the end,
    window_every: moving up by one after so many updates.
    uncertain: children of a level are dealt out by the uncertainty of their
      parents, and no longer evenly.
    keep_open: open nodes of a prompt that go on from a level, those whose
      segments were the likeliest; 0 for all.
    budget: new tokens that the tree of a prompt may take; 0 for any number.
    max_depth: deepest step, from 0; an episode may have one turn more.
    clip: range of the ratio; theirs is 1e-3, for the steps of a flow model.
    terms: what stands beside the surrogate, and the reduction.

  Source: Li et al. 2025, arXiv:2509.06040, which is about flow models. That a
  segment of tokens stands for steps of denoising is inferred. [code]
  """
  ranges.above(0, limit=limit)
  ranges.between(0, 1, width_ratio=width_ratio)
  ranges.at_least(0, window=window, window_last=window_last)
  ranges.at_least(0, keep_open=keep_open, budget=budget)
  ranges.at_least(window_last, window_first=window_first)
  ranges.at_least(1, window_every=window_every)
  columns = ["segment_log_prob"] * (fuse == "path")
  outside = keep.outside_depths(
    width=window, first=window_first, last=window_last, every=window_every
  )
  return recipe.Recipe(
    name="branch_grpo",
    credit=credit.chain(
      credit.outcome(),
      trees.fuse(max_depth=max_depth, vote=fuse),
      credit.standardise(by=("prompt", "tree", "depth"), eps=1e-8),
      credit.clip(limit),
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = clip(standardise(fuse(outcome, by {fuse}), by=tree,depth),"
    f" {limit})",
    min_group=2,
    source="Li et al. 2025, arXiv:2509.06040",
    confidence="code",
    departures=(
      "steps are segments of tokens or turns, theirs steps of denoising",
      "fuse='path' weighs by the sum of a segment's log-probabilities, theirs"
      " by the mean over a step's dimensions",
      "the clip is 0.2, theirs 1e-3",
    ),
    evidence=("parent", "depth", "tree", *columns),
    plan=tree.tree(
      tree.parse(branches),
      segment_tokens=segment_tokens,
      max_depth=max_depth,
      branching=branching.Branching(
        uncertain=uncertain, keep=keep_open, tokens=budget
      ),
    ),
    keep=_pruning(outside if window else None, width, width_ratio),
    verbs=("continue_from",),
  )


def _pruning(outside, width, width_ratio):
  """Returns what narrows the loss, None where nothing does."""
  prunes = [] if outside is None else [outside]
  if width != "all":
    prunes.append(keep.some_leaves(width, width_ratio))
  return keep.both(*prunes) if prunes else None
