"""What a search found: gain over the gold evidence, redundancy, and answers.

Everything here is host code on texts; environments put the numbers in
`info["evidence"]` as "information_gain", "redundancy" and "sub_answer_gain".

Source: StepSearch, Zheng et al. 2025, arXiv:2505.15107 [code], whose step
function was executed; ERL, 2025, arXiv:2510.00861 [note].
"""

import collections
import math
import re
import string
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

KEY_WEIGHT = 0.618  # Of the queries beside the answer, in StepSearch.
MALFORMED = -1.0  # Final reward of an episode without one answer at its end.

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def words(text: str) -> list[str]:
  """The words of a text, in lower case; single characters are words too."""
  return re.findall(r"\w+", text.lower())


def tf_idf(texts: Sequence[str]) -> Float[np.ndarray, "N W"]:
  """Rows of unit length, one a text, over the vocabulary of all of them.

      count(w, text) * (ln((1 + N) / (1 + N_w)) + 1)

  A text without words has zeros.
  """
  counts = [collections.Counter(words(text)) for text in texts]
  vocabulary = sorted(set().union(*counts))
  table = np.array(
    [[count[word] for word in vocabulary] for count in counts], np.float64
  ).reshape(len(texts), len(vocabulary))
  seen = (table > 0).sum(0)
  table *= np.log((1 + len(texts)) / (1 + seen)) + 1
  norm = np.linalg.norm(table, axis=1, keepdims=True)
  return table / np.where(norm > 0, norm, 1.0)


def similarities(document: str, gold: Sequence[str]) -> Float[np.ndarray, " N"]:
  """Cosine in [0, 1] of a document with each gold text, by TF-IDF over them."""
  table = tf_idf([document, *gold])
  return np.clip(table[1:] @ table[0], 0.0, 1.0)


def coverage(
  documents: Sequence[str], gold: Sequence[str]
) -> Float[np.ndarray, " N"]:
  """Largest similarity of each gold text to a document of one search."""
  best = np.zeros(len(gold))
  for document in documents:
    best = np.maximum(best, similarities(document, gold))
  return best


def information_gain(
  covered: Float[np.ndarray, "T N"],
) -> Float[np.ndarray, " T"]:
  """What each search found of the gold texts beyond the searches before.

      best_t = max(best_{t-1}, c_t),  G_t = mean_i max(c_ti - best_{t-1,i}, 0)

  Zero where there is no gold text.

  Args:
    covered: `coverage` of each search.
  """
  return _gain(covered, covered.shape[1])


def sub_answer_gain(
  scores: Float[np.ndarray, "T M"],
) -> Float[np.ndarray, " T"]:
  """How much nearer each step came to the gold sub-answers, from 0 before.

      R_t = sum_j max(u_tj - u_{t-1,j}, 0) / max(M, 1),  u a running maximum

  Args:
    scores: F1 of each step's sub-answer against each gold one.
  """
  return _gain(scores, scores.shape[1])


def _gain(x: np.ndarray, num: int) -> np.ndarray:
  best = np.maximum.accumulate(np.vstack([np.zeros((1, num)), x]))
  return np.maximum(x - best[:-1], 0.0).sum(1) / max(num, 1)


def redundancy(
  retrieved: Sequence[Sequence[Hashable]],
) -> Float[np.ndarray, " T"]:
  """Share of each search's documents that had been returned before.

  Earlier in the same search counts too. Zero for a search without documents.
  """
  seen: set[Hashable] = set()
  out = np.zeros(len(retrieved))
  for turn, documents in enumerate(retrieved):
    again = 0
    for document in documents:
      again += document in seen
      seen.add(document)
    out[turn] = again / max(len(documents), 1)
  return out


def normalised(text: str) -> str:
  """A text as question answering compares it: no case, articles, punctuation."""
  bare = "".join(c for c in text.lower() if c not in string.punctuation)
  return " ".join(_ARTICLES.sub(" ", bare).split())


def exact(answer: str, aliases: Sequence[str]) -> float:
  """1 if the answer is one of the aliases, else 0."""
  return float(normalised(answer) in {normalised(x) for x in aliases})


def f1(answer: str, aliases: Sequence[str]) -> float:
  """Largest F1 of words in common with one of the aliases, to 4 digits.

  Zero without aliases, or where either has no words.
  """
  scores = [_f1(normalised(answer), normalised(x)) for x in aliases]
  return round(max(scores, default=0.0), 4)


def _f1(answer: str, gold: str) -> float:
  mine, theirs = answer.split(), gold.split()
  common = collections.Counter(mine) & collections.Counter(theirs)
  shared = common.total()
  if not shared:
    return 0.0
  return 2 * shared / (len(mine) + len(theirs))


def key_score(queries: Sequence[str], groups: Sequence[Sequence[str]]) -> float:
  """Mean over gold groups of the F1 of the query that was assigned to each.

  A query is assigned to the group with the phrase nearest to it, the first of
  equal ones; a later one takes the place of an earlier one, even if it is
  worse. Queries that share no word with any group are assigned to none.
  """
  matched: dict[int, float] = {}
  for query in queries:
    scores = [f1(query, group) for group in groups]
    if max(scores, default=0.0) > 0:
      matched[int(np.argmax(scores))] = max(scores)
  return math.fsum(matched.values()) / max(len(groups), 1)


def final_reward(
  answer: str | None,
  aliases: Sequence[str],
  queries: Sequence[str] = (),
  groups: Sequence[Sequence[str]] = (),
  key_weight: float = KEY_WEIGHT,
) -> float:
  """F1 of the answer plus `key_weight` times `key_score`; -1 if malformed.

  Args:
    answer: None where the episode is malformed: there is no answer, or there is
      text after the last one. No other episode has a negative reward.
  """
  if answer is None:
    return MALFORMED
  return f1(answer, aliases) + key_weight * key_score(queries, groups)


def answer_reward(answer: str, aliases: Sequence[str]) -> float:
  """Half the exact match and half the F1: ERL's reward of an answer."""
  return 0.5 * exact(answer, aliases) + 0.5 * f1(answer, aliases)


def erasure(
  phase: Literal["search", "sub_answer"],
  step: int,
  gain: float,
  *,
  alpha: float = 0.0,
  beta: float = 0.0,
) -> Literal["step", "search", "restart"] | None:
  """What is erased after one turn of a search agent; None for nothing.

  A step is a search, what it found, and a sub-answer.

      sub-answer, R_sub_t <= alpha:          "step", all of it
      search, t > 1 and R_search_t <= alpha: "search", with what it found
      search, t = 1 and R_search_1 <= beta:  "restart", everything

  Args:
    phase: what the turn was.
    step: from 0; the paper's t is step + 1.
    gain: `sub_answer_gain`, or information gain less redundancy.

  Source: ERL, arXiv:2510.00861 [note]; the thresholds are ours.
  """
  if phase == "sub_answer":
    return "step" if gain <= alpha else None
  if step > 0:
    return "search" if gain <= alpha else None
  return "restart" if gain <= beta else None
