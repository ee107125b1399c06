"""Scores of a step that asks a retriever, and of one that answers."""

import collections
import string
from collections.abc import Sequence

SHORT = 5  # Words of a gold answer that must all be there.


def step_score(
  similarity: float | int, routed: bool, well_formed: bool = True
) -> float:
  """Half for the sub-question, half for the choice of the retriever.

      0.5 similarity + 0.5 [the chosen retriever is right], 0 if malformed

  Args:
    similarity: cosine of the embeddings of the sub-question and the gold one.

  Source: R1-Router 2025, arXiv:2505.22095. [code]
  """
  return 0.5 * similarity + 0.5 * routed if well_formed else 0.0


def answer_score(answer: str, golds: Sequence[str]) -> float:
  """How much of the gold answer is in `answer`, in [0, 1].

  Several golds are aliases: 1 if all the words of any of them are there, else
  0. So for a single one of at most five words; a longer one pays its recall.

  Source: R1-Router 2025, arXiv:2505.22095. [code]

  Raises:
    ValueError: there is no gold answer.
  """
  if not golds:
    raise ValueError("golds is empty: there must be an answer to compare with")
  if len(golds) == 1 and len(_words(golds[0])) > SHORT:
    return recall(answer, golds[0])
  return float(any(recall(answer, gold) == 1 for gold in golds))


def recall(answer: str, gold: str) -> float:
  """The fraction of the gold's words in the answer, case and marks aside."""
  wanted = collections.Counter(_words(gold))
  found = wanted & collections.Counter(_words(answer))
  return found.total() / wanted.total() if wanted else 0.0


def _words(text: str) -> list[str]:
  table = str.maketrans("", "", string.punctuation)
  return text.lower().translate(table).split()
