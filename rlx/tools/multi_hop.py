"""Multi-hop questions in English over a made-up corpus, with a search tool.

    Who is the boss of the mother of Bado?
    <tool_call> {"name": "search", "arguments": {"query": "mother of Bado"}} ...
    <tool_response> Bado: The mother of Bado is Keli. ...

The questions, people and gold evidence are those of `rlx.envs.search.Search`,
for models that read text. All is made from a seed; nothing is downloaded.
"""

import dataclasses
import functools
import random
from typing import Any, Literal

import numpy as np

from rlx.envs import search as worlds
from rlx.evidence import retrieval
from rlx.tools import episode as episodes
from rlx.tools import hermes, search
from rlx.tools import tool as tools


@dataclasses.dataclass(frozen=True)
class MultiHop:
  """Questions of `hops` relations about `people`, see the module.

  The answer pays its F1 plus 0.618 times how well the queries looked for the
  hops (StepSearch); an episode without an answer pays -1. Searches fill
  "information_gain" and "redundancy" over the gold documents.
  """

  people: int = 64
  """Persons in the corpus."""
  hops: int = 2
  """Relations in a question."""
  documents: int = 3
  """Documents that a search shows."""
  turns: int = 6
  """Turns an episode may take."""
  held_out: int = 256
  """Number of questions that are never trained on."""
  seed: int = 0
  """Of the corpus and the split."""
  engine: Literal["numpy", "bm25s"] = "numpy"
  """Of the ranking; see `tools.search.bm25`."""
  describe: bool = True
  """Begin the prompt with the tool and how it is called."""
  skill: float = 0.8
  """Share of the demonstrations' searches that name the right person."""

  # Columns of the step table that it fills.
  evidence = ("information_gain", "redundancy")

  def __post_init__(self):
    _ = self.world  # Which checks the numbers that it shares.
    if not 0 <= self.skill <= 1:
      raise ValueError(f"skill={self.skill}: must be in [0, 1]")

  @property
  def world(self) -> worlds.Search:
    """The questions and the corpus, in fewer words."""
    return worlds.Search(
      people=self.people,
      hops=self.hops,
      documents=self.documents,
      turns=self.turns,
      held_out=self.held_out,
      seed=self.seed,
    )

  @property
  def max_turns(self) -> int:
    return self.turns

  def num_test(self) -> int:
    return self.held_out

  def words(self) -> tuple[str, ...]:
    return ()

  def corpus(self) -> list[search.Document]:
    """Returns the documents."""
    return [document(text) for text in self.world.corpus()]

  def row(self, index: int, split: str) -> dict[str, Any]:
    """Returns question `index` with all that is known of it.

    `gold` are texts of the documents in which the hops stand, `queries` phrases
    that look for each, `answers` those of the hops; the last is the `answer`.
    """
    found = self.world.question(index, split)
    *chain, person = found.text.split(" of ")
    chain = [*chain, person.capitalize()]
    return {
      "prompt": f"Who is the {' of the '.join(chain[:-1])} of {chain[-1]}?",
      "answer": found.answers[-1].capitalize(),
      "gold": [document(text).text for text in found.gold],
      "queries": [_phrases(group[0]) for group in found.queries],
      "answers": [answer.capitalize() for answer in found.answers],
    }

  def episode(self, index: int, split: str) -> episodes.ToolEpisode:
    row, known = self.row(index, split), _tools(self)
    prompt = row["prompt"] + " Answer with the name alone."
    if self.describe:
      prompt = f"{hermes.describe([*known.values()])}\n\n{prompt}"
    rules = episodes.Rules(
      rewards=(exact_match, stepsearch_reward),
      weights=(0.0, 1.0),  # The first only says what a success is.
      turns=self.turns,
      max_tool_calls=4 * self.turns,
      evidence=functools.partial(_evidence, self.corpus(), row["gold"]),
    )
    return episodes.ToolEpisode(rules, row, prompt, known)

  def demonstration(self, index: int, seed: int) -> list[tuple[str, str]]:
    """Returns (observation, action) pairs of who names a wrong person at times."""
    rng = random.Random(f"{seed}/{index}")
    row, live = self.row(index, "train"), self.episode(index, "train")
    names = sorted({d.title for d in self.corpus()})
    actions = []
    for phrases in row["queries"]:
      *words, person = phrases[1].split()
      if rng.random() >= self.skill:
        person = rng.choice(names)
      call = hermes.Call("search", {"query": " ".join([*words, person])})
      actions.append(hermes.write([call]))
    shown, _ = live.reset(seed)
    pairs = []
    for action in [*actions[: self.turns - 1], row["answer"]]:
      pairs.append((shown, action))
      shown, *_ = live.step(action)
    return pairs


def document(text: str) -> search.Document:
  """A document of the world of few words, in English."""
  _, _, name, relation, other = text.split()
  name, other = name.capitalize(), other.capitalize()
  return search.Document(name, f"The {relation} of {name} is {other}.")


def _phrases(query: str) -> list[str]:
  person, relation = query.split()
  person = person.capitalize()
  return [
    f"{person} {relation}",
    f"{relation} of {person}",
    f"Who is the {relation} of {person}?",
  ]


def exact_match(
  completions: list[str], answer: list[str], **columns: Any
) -> list[float]:
  """1 where the answer is right but for case and articles, else 0."""
  del columns
  return [
    retrieval.exact(text, [known])
    for text, known in zip(completions, answer, strict=True)
  ]


def stepsearch_reward(
  completions: list[str],
  answers: list[list[str]],
  queries: list[list[list[str]]],
  tool_calls: list[list[hermes.Call]],
  truncated: list[bool],
  **columns: Any,
) -> list[float]:
  """F1 of the answer plus 0.618 times the key score; -1 without an answer.

  Source: StepSearch, arXiv:2505.15107, see `evidence.retrieval.final_reward`.
  """
  del columns
  return [
    retrieval.final_reward(
      text if text.strip() and not cut else None,
      known[-1:],
      [str(call.arguments.get("query", "")) for call in calls if _asks(call)],
      groups,
    )
    for text, known, groups, calls, cut in zip(
      completions, answers, queries, tool_calls, truncated, strict=True
    )
  ]


def _asks(call: hermes.Call) -> bool:
  return call.name == "search" and isinstance(call.arguments, dict)


def _evidence(
  corpus: list[search.Document],
  gold: list[str],
  turns: tuple[episodes.Turn, ...],
) -> dict[str, float]:
  """What the last turn's searches found beyond those before, and again."""
  found = [
    tuple(i for _, result in turn for i in result.data or ()) for turn in turns
  ]
  if not found or not found[-1]:
    return {"information_gain": 0.0, "redundancy": 0.0}
  covered = [
    retrieval.coverage([corpus[i].text for i in each], gold) for each in found
  ]
  gain = retrieval.information_gain(np.array(covered))
  again = retrieval.redundancy(found)
  return {"information_gain": float(gain[-1]), "redundancy": float(again[-1])}


@functools.lru_cache(maxsize=8)
def _tools(task: MultiHop) -> dict[str, tools.Tool]:
  made = search.over(task.corpus(), num=task.documents, engine=task.engine)
  return tools.named([made])
