"""Growing trees with the verbs."""

import collections
from collections.abc import Callable, Sequence

import numpy as np

from rlx.rollout import branching as branchings
from rlx.rollout import engine, plan, played
from rlx.rollout import verbs as rollout_verbs
from rlx.rollout.plans import edges

# (shape, level, open nodes of a prompt, its finished ones) -> how many children
# each of its open nodes has.
Allot = Callable[[engine.Shape, int, int, int], Sequence[int]]


def grow(
  widths: Callable[[engine.Shape], Sequence[int]],
  allot: Allot,
  *,
  segment_tokens: int | None = None,
  trees: int | None = 1,
  max_depth: int = 15,
  branching: branchings.Branching = branchings.Branching(),
) -> plan.Plan:
  """Grows trees from prompts, as many levels as there are widths.

  Every node is a row: its prefix, which nobody chose in this row, and its
  segment. It is one step, whose reward is what was paid for it. The rows of a
  prompt stand together, parents first; those that no node has are dropped.
  Columns:
    parent, depth, tree  parent is a row of the table; depth is 0 at a child of
      the prompt, which is no row.
    outcome  rewards on the path from the prompt; for a leaf its total.
    segment_log_prob  sum over the segment, of the whole vocabulary.

  Args:
    widths: most nodes of each level of a prompt.
    segment_tokens: most of a completion's step; the last level goes on to the
      end. At most what every level would have if the longest completion were
      divided evenly, which is what None is.
    trees: from each prompt, among which its children are dealt out evenly; None
      for one for each sample of the group.
    max_depth: what the recipe's credit can fuse.
    branching: which open nodes go on, and which of them have more children.

  Raises:
    ValueError: branching is out of range.
  """
  if min(branching.keep, branching.tokens) < 0:
    raise ValueError(
      f"keep={branching.keep}, tokens={branching.tokens}: must be 0 or more"
    )

  def size(shape: engine.Shape) -> plan.Size:
    levels = widths(shape)
    if len(levels) > max_depth + 1:
      raise ValueError(
        f"a tree of {len(levels)} levels is deeper than max_depth={max_depth} "
        f"of the recipe, which counts from 0: raise it to {len(levels) - 1}"
      )
    return plan.Size(shape.num_prompts * sum(levels), shape.length, 1)

  def collect(do: rollout_verbs.Verbs, prompt_ids, indices, memory):
    levels = widths(do.shape)
    num = do.shape.num_samples if trees is None else trees
    forest = Forest(do, prompt_ids, indices, num, branching)
    for level in range(len(levels)):
      part = -(-do.shape.action_tokens // len(levels))
      tokens = min(segment_tokens or part, part)
      if level + 1 == len(levels):
        tokens = None
      forest.grow(level, allot, tokens)
    return forest.lay_out(size(do.shape)), memory

  return plan.Plan(
    collect=collect,
    size=size,
    columns=("outcome", "segment_log_prob"),
    needs=("continue_from",),
  )


class Forest:
  """Trees while they grow: nodes, and what was played to get them."""

  def __init__(
    self,
    do: rollout_verbs.Verbs,
    prompt_ids,
    indices,
    trees: int,
    branching: branchings.Branching = branchings.Branching(),
  ):
    self._do = do
    self._branching = branching
    # New tokens that the tree of each prompt may have had.
    self._taken = np.zeros(len(prompt_ids), int)
    self._prompt_ids = np.asarray(prompt_ids)
    self._trees = trees
    self._start = do.start(prompt_ids, indices)
    self._nodes: list[edges.Node] = []
    # The open ones by (prompt, depth), and how many of a prompt are finished.
    self._going: dict[tuple[int, int], list[int]] = {}
    self._done = np.zeros(len(prompt_ids), int)
    self._drawn: list[played.Played] = []
    self._spent: collections.Counter[str] = collections.Counter()

  def grow(self, level: int, allot: Allot, max_tokens: int | None) -> None:
    """Gives the open nodes of the level before their children."""
    groups: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    worth = self._worth(level)
    for prompt in range(len(self._prompt_ids)):
      parents = self._open(prompt, level)
      if level and parents:
        parents = self._prune(parents, worth)
      if not parents:
        continue
      done = int(self._done[prompt])
      counts = allot(self._do.shape, level, len(parents), done)
      if level:
        counts = self._deal(prompt, parents, counts, max_tokens)
      each = max_tokens or self._do.shape.action_tokens
      self._taken[prompt] += sum(counts) * each
      for parent, count in zip(parents, counts, strict=True):
        row = prompt if parent < 0 else self._nodes[parent].row
        for part in self._parts(level, count):
          groups.setdefault(part, []).append((parent, prompt, row))
    for (count, seed), members in sorted(groups.items()):
      self._continue(level, members, count, max_tokens, seed)

  def _parts(self, level: int, count: int) -> list[tuple[int, int]]:
    """How many children are drawn at once, and a seed of their own.

    Where every parent has another number of them, these are powers of two, as
    each is compiled.
    """
    how = self._branching
    if not level or not (how.uncertain or how.tokens):
      return [(count, level)] if count else []
    bits = [k for k in range(count.bit_length()) if count >> k & 1]
    return [(1 << k, level + (k << 16)) for k in bits]

  def _worth(self, level: int) -> dict[int, float]:
    """Asks once what all open nodes of the level before are worth, if asked."""
    how = self._branching
    if not level or not (how.keep or how.least > -np.inf):
      return {}
    nodes = [
      k
      for prompt in range(len(self._prompt_ids))
      for k in self._open(prompt, level)
    ]
    if not nodes:
      return {}
    if how.worth is None:
      found = -self._surprise(nodes)
    else:
      members = [(k, self._nodes[k].row) for k in nodes]
      found = how.worth(self._do, *self._prefixes(members))
    return dict(zip(nodes, found.tolist(), strict=True))

  def _prune(self, parents: list[int], worth: dict[int, float]) -> list[int]:
    if not worth:
      return parents
    known = np.array([worth[k] for k in parents])
    how = self._branching
    kept = branchings.prune(known, how.keep, how.least)
    return [k for k, stays in zip(parents, kept, strict=True) if stays]

  def _deal(self, prompt, parents, counts, max_tokens) -> Sequence[int]:
    """Returns how many children the open nodes have instead of `counts`."""
    how, total = self._branching, sum(counts)
    if how.tokens:
      each = max_tokens or self._do.shape.action_tokens
      room = (how.tokens - int(self._taken[prompt])) // each
      total = max(min(total, room), min(len(parents), total))
    if not how.uncertain and total == sum(counts):
      return counts
    score = np.ones(len(parents))
    if how.uncertain:
      score = self._surprise(parents)
    return branchings.deal(score, total, total).tolist()

  def _surprise(self, nodes: Sequence[int]) -> np.ndarray:
    each = [self._nodes[k] for k in nodes]
    found = [
      branchings.surprise(self._drawn[n.drawn].record, [n.row]) for n in each
    ]
    return np.concatenate(found)

  def _open(self, prompt: int, level: int) -> list[int]:
    if level == 0:
      return [-1] if self._start.stop[prompt] == "cut" else []
    return list(self._going.get((prompt, level - 1), ()))

  def _continue(self, level, members, count, max_tokens, seed) -> None:
    """Draws `count` children of each of the members."""
    before, cuts = self._prefixes([(k, row) for k, _, row in members])
    single = self._do.shape.turns == 1
    found = self._do.continue_from(
      before,
      cuts,
      count,
      max_tokens=max_tokens if single else None,
      max_turns=None if single else 1,
      seed=seed,
    )
    if self._branching.at is not None and single:
      begin = np.repeat([cut.length for cut in cuts], count)
      found = branchings.cut_back(
        found, begin.tolist(), self._branching.at, self._do.tokenizer
      )
    self._spent.update(found.seconds)
    drawn = len(self._drawn)
    self._drawn.append(found)
    for row in np.flatnonzero(found.record.turns).tolist():
      parent, prompt, _ = members[row // count]
      above = self._nodes[parent] if parent >= 0 else None
      nth = row % count * self._trees // count
      self._add(
        edges.Node(
          drawn=drawn,
          row=row,
          parent=parent,
          prompt=prompt,
          tree=above.tree if above else prompt * self._trees + nth,
          depth=level,
          paid=float(found.record.reward[row, 0])
          + (above.paid if above else 0.0),
          open=found.stop[row] == "cut",
        )
      )

  def _add(self, node: edges.Node) -> None:
    if node.open:
      here = self._going.setdefault((node.prompt, node.depth), [])
      here.append(len(self._nodes))
    else:
      self._done[node.prompt] += 1
    self._nodes.append(node)

  def _prefixes(self, members: Sequence[tuple[int, int]]):
    """Returns nodes as rows of one batch, and cuts at their ends."""
    sources = [self._nodes[k].drawn if k >= 0 else -1 for k, _ in members]
    parts, rows, offset = [], [0] * len(members), 0
    for source in sorted(set(sources)):
      part = self._start if source < 0 else self._drawn[source]
      for place, (_, row) in enumerate(members):
        if sources[place] == source:
          rows[place] = offset + row
      parts.append(part)
      offset += len(part.stop)
    before = played.join(parts)
    length = before.record.length
    return before, [rollout_verbs.Cut(r, int(length[r])) for r in rows]

  def lay_out(self, size: plan.Size) -> played.Played:
    """Returns the nodes as rows, and leaves out what has no leaf below it."""
    found = edges.lay_out(
      self._nodes,
      self._drawn,
      self._prompt_ids,
      size,
      size.rows // self._do.shape.num_prompts,
      self._do.version,
    )
    return found._replace(seconds=dict(self._spent))
