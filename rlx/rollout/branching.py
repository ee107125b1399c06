"""Which branches of a tree are worth what: pure functions, and what asks them.

A tree grows level by level. Between two levels it is decided which open nodes go
on, and how many children each has, from their uncertainty or their worth.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rlx.rollout import played, record, segments, values
from rlx.rollout import verbs as rollout_verbs

# (verbs, played, cuts at the ends of open nodes) -> float [N], higher is better
Worth = Callable[
  [rollout_verbs.Verbs, played.Played, Sequence[rollout_verbs.Cut]], np.ndarray
]


class Branching(NamedTuple):
  """How a tree departs from even branching; by default it does not.

  Attributes:
    uncertain: children are dealt out by the uncertainty of their parents.
    at: where a completion's open node ends: at the last of these cuts, if it has
      one behind its first token. What was drawn behind is thrown away.
    keep: open nodes of a prompt that go on from a level; 0 for all.
    worth: by which they are kept. Without, it is how likely a node's segment
      was to the policy, a token.
    least: open nodes that are worth less are dropped, however few there are.
    tokens: new tokens that the tree of a prompt may take; 0 for any number. What
      its nodes may have counts, and each open node has one child all the same.
  """

  uncertain: bool = False
  at: segments.Segmenter | None = None
  keep: int = 0
  worth: Worth | None = None
  least: float = -np.inf
  tokens: int = 0


def deal(score: np.ndarray, total: int, most: int) -> np.ndarray:
  """Returns how many of `total` children each node has, by its score.

  Each has one, if there are enough, those of the highest score before others.
  Every further child goes where the score of a child, that of its parent by the
  number of its children, would be highest (the rule of d'Hondt). Equal ones are
  served in order.

  Args:
    score: float [N], not negative.
    most: children of a node.
  """
  count = np.zeros(len(score), int)
  first = np.argsort(-score, kind="stable")[:total]
  count[first] = min(most, 1)
  for _ in range(total - len(first)):
    share = np.where(count < most, score / (count + 1), -1.0)
    if not len(share) or share.max() < 0:
      break
    count[share.argmax()] += 1
  return count


def prune(worth: np.ndarray, keep: int, least: float = -np.inf) -> np.ndarray:
  """Returns which nodes go on, bool [N]: the `keep` of most worth; 0 for all.

  Those that are worth less than `least` do not; NaN is worth least of all.
  Between equal ones the earlier is kept.
  """
  worth = np.where(np.isnan(worth), -np.inf, worth)
  order = np.argsort(-worth, kind="stable")
  chosen = np.zeros(len(worth), bool)
  chosen[order[: keep or len(worth)]] = True
  return chosen & (worth >= least)


def surprise(log: record.Record, rows: Sequence[int]) -> np.ndarray:
  """Returns the mean of -log p over what the policy chose in rows, in nats.

  It estimates the entropy of the policy there.
  """
  mask = log.mask[list(rows)]
  total = np.where(mask, -log.raw_log_probs[list(rows)], 0.0).sum(1)
  return np.maximum(total / np.maximum(mask.sum(1), 1), 0.0)


def probes(n: int, max_tokens: int | None = None) -> Worth:
  """The mean outcome of `n` continuations, in one call for all open nodes.

  With `least` above 0 it drops what never succeeded.

  Raises:
    ValueError: n is not positive.
  """
  if n < 1:
    raise ValueError(f"probes={n}: must be 1 or more")

  def worth(do, before, cuts):
    # No child is drawn as one of these was.
    return values.values(
      do, before, cuts, n, max_tokens=max_tokens, seed=-1
    ).mean

  return worth


def cut_back(
  one: played.Played,
  begin: Sequence[int],
  at: segments.Segmenter,
  tokenizer,
) -> played.Played:
  """Returns completions whose open rows end at the last cut of their segment.

  Args:
    begin: where each row's segment begins.
    at: the segmenter; a cut at 0 is none, as nothing would be left.
  """
  log = one.record
  for row, stop in enumerate(one.stop):
    written = slice(int(begin[row]), int(log.length[row]))
    if stop != "cut" or written.stop <= written.start:
      continue
    found = at(
      segments.Written(
        log.tokens[row, written], log.raw_log_probs[row, written], tokenizer
      )
    )
    found = found[(found > 0) & (found < written.stop - written.start)]
    if len(found):
      _shorten(log, row, written.start + int(found[-1]))
  return one


def _shorten(log: record.Record, row: int, length: int) -> None:
  for name in ("tokens", "mask", "log_probs", "raw_log_probs"):
    getattr(log, name)[row, length:] = 0
  log.segment[row, length:] = -1
  log.length[row] = length
