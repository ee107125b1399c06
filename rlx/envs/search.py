"""Multi-hop questions over a small made-up corpus, with a search tool.

The corpus is who is what to whom, a document for each person and relation with
the person's name as its title, and a question asks along a chain of relations:

    boss of mother of bado                     search bado mother
    bado : bado mother keli . bado : bado ...  sub keli
    ok                                         search keli boss
    keli : keli boss rafi . bado : bado ...    answer rafi

Everything is known of it: which documents the answer stands in, which queries
find them, what each hop's answer is. So every step has its evidence.
"""

import dataclasses
import functools
import itertools
import random
from typing import Any, Literal, NamedTuple

import numpy as np

from rlx.evidence import retrieval

RELATIONS = ("mother", "boss", "friend", "teacher")
_VERBS = ("search", "sub", "answer")
_SAID = ("of", ".", ":", "ok", "none", "what")


@dataclasses.dataclass(frozen=True)
class Search:
  """Questions of `hops` relations about `people`, see the module.

  An action is `search WORDS`, `sub WORDS` (the answer of a hop, noted down) or
  `answer WORDS`, which ends the episode. Only the end is paid. An episode
  without an answer, or with another action behind its answer, is malformed and
  pays -1. Held-out questions are never trained on.
  """

  people: int = 16
  """Persons in the corpus."""
  hops: int = 2
  """Relations in a question."""
  documents: int = 2
  """Documents that a search shows."""
  turns: int = 6
  """Actions an episode may take."""
  held_out: int = 32
  """Number of questions that are never trained on."""
  seed: int = 0
  """Of the corpus and the split."""
  final: Literal["key", "exact"] = "key"
  """`key`: F1 plus 0.618 times the key score of the queries (StepSearch).
  `exact`: half the exact match and half the F1 (ERL)."""
  skill: float = 0.8
  """Share of the demonstrations' actions that are right."""

  # Columns of the step table that it fills.
  evidence = ("information_gain", "redundancy", "sub_answer_gain")

  def __post_init__(self):
    if min(self.hops, self.documents, self.turns, self.held_out) < 1:
      raise ValueError(
        f"hops={self.hops}, documents={self.documents}, turns={self.turns}, "
        f"held_out={self.held_out}: each must be 1 or more"
      )
    if not 2 <= self.people <= len(_names()):
      raise ValueError(
        f"people={self.people}: must be between 2 and {len(_names())}"
      )
    questions = self.people * len(RELATIONS) ** self.hops
    if self.held_out >= questions:
      raise ValueError(
        f"held_out={self.held_out}: there are {questions} questions in all"
      )
    if not 0 <= self.skill <= 1:
      raise ValueError(f"skill={self.skill}: must be in [0, 1]")

  @property
  def max_turns(self) -> int:
    return self.turns

  def num_test(self) -> int:
    return self.held_out

  def words(self) -> tuple[str, ...]:
    return (*_VERBS, *_SAID, *RELATIONS, *_names()[: self.people])

  def question(self, index: int, split: str) -> "Question":
    """Returns question `index`; those of "train" come round again."""
    order = _order(self.people, self.hops, self.seed)
    test, train = order[: self.held_out], order[self.held_out :]
    chosen = test if split == "test" else train
    person, *chain = chosen[index % len(chosen)]
    return _question(self.corpus(), person, chain)

  def corpus(self) -> tuple[str, ...]:
    """Returns the documents, `NAME : NAME RELATION OTHER`."""
    return _corpus(self.people, self.seed)

  def episode(self, index: int, split: str) -> "SearchEpisode":
    return SearchEpisode(self, self.corpus(), self.question(index, split))

  def demonstration(self, index: int, seed: int) -> list[tuple[str, str]]:
    """Returns (observation, action) pairs of who names a wrong word at times."""
    rng = random.Random(f"{seed}/{index}")
    question = self.question(index, "train")
    episode, pairs = self.episode(index, "train"), []
    shown, _ = episode.reset(seed)
    for action in question.plan()[-self.turns :]:
      if rng.random() >= self.skill:
        verb, *said = action.split()
        said[0] = rng.choice(_names()[: self.people])
        action = " ".join([verb, *said])
      pairs.append((shown, action))
      shown, _, terminated, truncated, _ = episode.step(action)
      if terminated or truncated:
        break
    return pairs


class Question(NamedTuple):
  """A question, and what is to be known of it.

  Attributes:
    text: what is asked.
    gold: documents in which the hops stand.
    queries: for each hop, phrases that look for it.
    answers: of each hop; the last is the answer.
  """

  text: str
  gold: tuple[str, ...]
  queries: tuple[tuple[str, ...], ...]
  answers: tuple[str, ...]

  def plan(self) -> list[str]:
    """Returns the actions of an episode that goes well."""
    steps = [
      (f"search {phrases[0]}", f"sub {answer}")
      for phrases, answer in zip(self.queries, self.answers, strict=True)
    ]
    return [*itertools.chain(*steps), f"answer {self.answers[-1]}"]


@dataclasses.dataclass(frozen=True)
class _State:
  """What has happened; one entry for each search, or sub-answer."""

  turn: int = 0
  queries: tuple[str, ...] = ()
  retrieved: tuple[tuple[int, ...], ...] = ()
  covered: tuple[tuple[float, ...], ...] = ()
  scores: tuple[tuple[float, ...], ...] = ()
  noted: tuple[str, ...] = ()

  def key(self) -> tuple[Any, ...]:
    """What the next action depends on: not the order, nor the turn."""
    seen = frozenset(itertools.chain(*self.retrieved))
    return seen, frozenset(self.noted)


class SearchEpisode:
  """One question being answered."""

  def __init__(self, task: Search, corpus: tuple[str, ...], question: Question):
    self._task, self._corpus, self.question = task, corpus, question
    self._state = _State()

  def reset(self, seed: int) -> tuple[str, dict[str, Any]]:
    del seed  # The index says everything.
    self._state = _State()
    return self.question.text, {"state_key": self._state.key()}

  def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
    verb, *said = action.split() or [""]
    words = " ".join(said)
    found: dict[str, float] = {name: 0.0 for name in self._task.evidence}
    shown, bad = "what", False
    self._state = dataclasses.replace(self._state, turn=self._state.turn + 1)
    if verb == "answer":
      return self._end(
        None if {*said} & {*_VERBS} or not said else words, found
      )
    if verb == "search":
      shown = self._search(words, found)
    elif verb == "sub":
      shown = self._note(words, found)
    else:
      bad = True
    if self._state.turn == self._task.turns:
      return self._end(None, found, truncated=True)
    info = {
      "state_key": self._state.key(),
      "evidence": found,
      "parse_error": bad,
    }
    return shown, 0.0, False, False, info

  def phase(self, action: str) -> Literal["search", "sub_answer", "other"]:
    """Returns what an action is, for `plans.erasing`."""
    verb = (action.split() or [""])[0]
    if verb == "search":
      return "search"
    return "sub_answer" if verb == "sub" else "other"

  def snapshot(self) -> _State:
    return self._state

  def restore(self, snapshot: _State, seed: int) -> None:
    del seed  # Nothing here is left to chance.
    self._state = snapshot

  def _search(self, query: str, found: dict[str, float]) -> str:
    rank = retrieval.similarities(query, self._corpus)
    best = np.argsort(-rank, kind="stable")[: self._task.documents]
    hits = tuple(int(i) for i in best if rank[i] > 0)
    texts = [self._corpus[i] for i in hits]
    state = dataclasses.replace(
      self._state,
      queries=(*self._state.queries, query),
      retrieved=(*self._state.retrieved, hits),
      covered=(
        *self._state.covered,
        tuple(retrieval.coverage(texts, self.question.gold).tolist()),
      ),
    )
    self._state = state
    gain = retrieval.information_gain(np.array(state.covered))
    found["information_gain"] = float(gain[-1])
    found["redundancy"] = float(retrieval.redundancy(state.retrieved)[-1])
    return " . ".join(texts) or "none"

  def _note(self, answer: str, found: dict[str, float]) -> str:
    scores = tuple(retrieval.f1(answer, [x]) for x in self.question.answers)
    self._state = dataclasses.replace(
      self._state,
      scores=(*self._state.scores, scores),
      noted=(*self._state.noted, answer),
    )
    gain = retrieval.sub_answer_gain(np.array(self._state.scores))
    found["sub_answer_gain"] = float(gain[-1])
    return "ok"

  def _end(self, answer: str | None, found, truncated: bool = False):
    aliases = self.question.answers[-1:]
    reward = retrieval.final_reward(
      answer, aliases, self._state.queries, self.question.queries
    )
    if answer is not None and self._task.final == "exact":
      reward = retrieval.answer_reward(answer, aliases)
    info = {
      "state_key": self._state.key(),
      "evidence": found,
      "success": answer is not None and bool(retrieval.exact(answer, aliases)),
      "parse_error": answer is None and not truncated,
    }
    return "", reward, not truncated, truncated, info


@functools.cache
def _names() -> tuple[str, ...]:
  """Names of two syllables, in an order that does not change."""
  starts, ends = "bdfgklmnprstvz", "aeiou"
  syllables = [a + b for a in starts for b in ends]
  pairs = [a + b for a, b in itertools.product(syllables, syllables) if a != b]
  random.Random(0).shuffle(pairs)
  return tuple(pairs[:512])


@functools.lru_cache(maxsize=8)
def _corpus(people: int, seed: int) -> tuple[str, ...]:
  """A document for each person and relation, in that order."""
  rng = random.Random(f"corpus {seed}")
  names = _names()[:people]
  return tuple(
    f"{name} : {name} {relation} {rng.choice([x for x in names if x != name])}"
    for name in names
    for relation in RELATIONS
  )


@functools.lru_cache(maxsize=8)
def _order(people: int, hops: int, seed: int) -> tuple[tuple[int, ...], ...]:
  """All questions, (person, relation, ...), in an order of their own."""
  relations = [range(len(RELATIONS))] * hops
  every = list(itertools.product(range(people), *relations))
  random.Random(f"questions {seed}").shuffle(every)
  return tuple(every)


def _question(
  corpus: tuple[str, ...], person: int, chain: list[int]
) -> Question:
  names = _names()
  gold, queries, answers, here = [], [], [], names[person]
  for relation in chain:
    number = names.index(here) * len(RELATIONS) + relation
    gold.append(corpus[number])
    queries.append((f"{here} {RELATIONS[relation]}",))
    here = corpus[number].split()[-1]
    answers.append(here)
  asked = " of ".join([RELATIONS[r] for r in chain[::-1]] + [names[person]])
  return Question(asked, tuple(gold), tuple(queries), tuple(answers))
