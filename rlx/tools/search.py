"""A search tool over a local corpus, ranked by BM25."""

import collections
import importlib
import importlib.util
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from rlx.evidence import retrieval
from rlx.tools import tool as tools

_K1, _B = 1.5, 0.75


class Document(NamedTuple):
  """What is found."""

  title: str
  text: str


# Of the words of a query, a score for each document.
Scores = Callable[[Sequence[str]], Float[np.ndarray, " N"]]


def read(path: str) -> list[Document]:
  """Documents of a JSON-lines file with `title` and `text` (or `contents`).

  Raises:
    ValueError: there is no such file, or a row without a text.
  """
  file = pathlib.Path(path)
  if not file.is_file():
    raise ValueError(f"corpus {path}: there is no such file")
  found = []
  with file.open() as lines:
    for number, line in enumerate(lines, start=1):
      if not line.strip():
        continue
      row = json.loads(line)
      text = (
        row.get("text", row.get("contents")) if isinstance(row, dict) else None
      )
      if not isinstance(text, str):
        raise ValueError(f"corpus {path}, line {number}: no 'text'")
      found.append(Document(str(row.get("title", "")), text))
  return found


def bm25(
  documents: Sequence[Document],
  engine: Literal["numpy", "bm25s"] = "numpy",
) -> Scores:
  """Scores of documents for words, as Lucene has them.

      sum over words of ln(1 + (N - n + 1/2) / (n + 1/2))
                        tf / (tf + 1.5 (1/4 + 3/4 length / mean length))

  Both engines give the same; `bm25s` is for large corpora, and an extra.

  Raises:
    ValueError: there are no documents, or bm25s is not installed.
  """
  if not documents:
    raise ValueError("the corpus is empty: it has 0 documents")
  words = [retrieval.words(f"{d.title} {d.text}") for d in documents]
  return _bm25s(words) if engine == "bm25s" else _numpy(words)


def _numpy(texts: Sequence[Sequence[str]]) -> Scores:
  found: dict[str, tuple[list[int], list[int]]] = {}
  for number, words in enumerate(texts):
    for word, count in collections.Counter(words).items():
      where, counts = found.setdefault(word, ([], []))
      where.append(number)
      counts.append(count)
  length = np.array([len(words) for words in texts], np.float64)
  spread = _K1 * (1 - _B + _B * length / max(length.mean(), 1.0))
  table = {}
  for word, (where, counts) in found.items():
    at, tf = np.array(where), np.array(counts, np.float64)
    rarity = np.log1p((len(texts) - len(at) + 0.5) / (len(at) + 0.5))
    table[word] = at, rarity * tf / (tf + spread[at])

  def scores(query: Sequence[str]) -> Float[np.ndarray, " N"]:
    total = np.zeros(len(texts))
    for word in query:
      if word in table:
        where, each = table[word]
        total[where] += each
    return total

  return scores


def _bm25s(texts: Sequence[Sequence[str]]) -> Scores:
  if importlib.util.find_spec("bm25s") is None:
    raise ValueError(
      'engine="bm25s": the package bm25s is not installed; pip install'
      ' "rlx[search]", or use engine="numpy"'
    )
  # Imported here, as it is an extra.
  bm25s = importlib.import_module("bm25s")
  ranker = bm25s.BM25(method="lucene", k1=_K1, b=_B)
  ranker.index([list(words) for words in texts], show_progress=False)
  return lambda query: np.asarray(ranker.get_scores(list(query)), np.float64)


def best(scores: Scores, query: str, num: int) -> tuple[int, ...]:
  """The `num` documents with the highest scores, the first of equal ones.

  Those that share no word with the query are not among them.
  """
  words = retrieval.words(query)
  found = scores(words) if words else np.zeros(0)
  # Rounded, as engines add up in different orders.
  order = np.argsort(-np.round(found, 5), kind="stable")[:num]
  return tuple(int(i) for i in order if found[i] > 0)


def over(
  documents: Sequence[Document],
  *,
  num: int = 3,
  engine: Literal["numpy", "bm25s"] = "numpy",
) -> tools.Tool:
  """A tool `search(query)` over these documents.

  `Result.data` is which they were, by number.

  Args:
    documents: the corpus.
    num: documents that a search shows.
    engine: of the ranking, see `bm25`.
  """
  scores = bm25(documents, engine)

  def search(query: str) -> tools.Result:
    """Searches the corpus and returns the documents that fit best.

    Args:
      query: words to look for.
    """
    found = best(scores, query, num)
    texts = [f"{documents[i].title}: {documents[i].text}" for i in found]
    return tools.Result("\n".join(texts) or "nothing found", data=found)

  return tools.make(search)


def search(
  *,
  path: str = "corpus.jsonl",
  num: int = 3,
  engine: Literal["numpy", "bm25s"] = "numpy",
) -> tools.Tool:
  """A tool `search(query)` over a JSON-lines file, for `ToolTask.tools`.

  Args:
    path: the file, with `title` and `text` in each line.
    num: documents that a search shows.
    engine: numpy, or bm25s for large corpora.

  Raises:
    ValueError: the file cannot be read, or bm25s is not installed.
  """
  return over(read(path), num=num, engine=engine)
