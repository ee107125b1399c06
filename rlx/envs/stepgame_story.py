"""StepGame's stories: letters placed relative to one another, and noise."""

import collections
import random
import string
from collections.abc import Sequence
from typing import NamedTuple

Point = tuple[int, int]

# The name of where something lies, and the unit step there; x grows to the
# right and y upwards.
RELATIONS: dict[str, Point] = {
  "left": (-1, 0),
  "right": (1, 0),
  "above": (0, 1),
  "below": (0, -1),
  "upper-left": (-1, 1),
  "upper-right": (1, 1),
  "lower-left": (-1, -1),
  "lower-right": (1, -1),
  "overlap": (0, 0),
}
_CARDINAL = (
  "{a} is {way} {b}.",
  "{a} lies {way} {b}.",
  "{a} is placed {way} {b}.",
  "{a} can be found {way} {b}.",
  "Directly {way} {b} is {a}.",
  "Look {way} {b} and there is {a}.",
  "{a} was put {way} {b}.",
  "{a} sits {way} {b}.",
  "{a} and {b} are neighbours; {a} is {way} {b}.",
  "If {b} is the centre, {a} is {way} it.",
)
_WAYS = {
  "left": ("to the left of", "on the left of"),
  "right": ("to the right of", "on the right of"),
  "above": ("above", "at 12 o'clock of"),
  "below": ("below", "at 6 o'clock of"),
  "upper-left": ("to the upper left of", "above and to the left of"),
  "upper-right": ("to the upper right of", "above and to the right of"),
  "lower-left": ("to the lower left of", "below and to the left of"),
  "lower-right": ("to the lower right of", "below and to the right of"),
}


class Fact(NamedTuple):
  """`a` lies at `relation` of `b`."""

  a: str
  relation: str
  b: str


class Story(NamedTuple):
  """A story, a question about it, and what is to be known.

  Attributes:
    facts: in the order in which they are told, noise among them.
    sentences: a sentence for each.
    asked: (a, b): where is a, seen from b?
    path: from b to a, letter by letter, along the chain.
    places: of every letter that is linked with b, where b is (0, 0).
    answer: a key of `RELATIONS`.
  """

  facts: tuple[Fact, ...]
  sentences: tuple[str, ...]
  asked: tuple[str, str]
  path: tuple[str, ...]
  places: dict[str, Point]
  answer: str

  def text(self) -> str:
    """Returns the story and its question."""
    a, b = self.asked
    question = f"Where is {a}, seen from {b}?"
    return " ".join([*self.sentences, question])


def story(
  rng: random.Random, hops: int, noise: int, kinds: Sequence[str]
) -> Story:
  """Returns a story whose question takes `hops` facts, with `noise` others.

  Noise is "irrelevant" (a letter that hangs on the chain and leads nowhere),
  "disconnected" (two letters that are linked with nothing else) or "supporting"
  (a fact between two letters of the chain that are next to each other).
  """
  names = rng.sample(string.ascii_uppercase, len(string.ascii_uppercase))
  path = [names.pop() for _ in range(hops + 1)]
  moves = [rng.choice([x for x in RELATIONS if x != "overlap"]) for _ in path]
  chain = [
    Fact(path[i + 1], moves[i], path[i])
    if rng.random() < 0.5
    else Fact(path[i], opposite(moves[i]), path[i + 1])
    for i in range(hops)
  ]
  where = solve(chain, path[0])
  facts = chain + [
    _noise(rng, rng.choice(kinds), where, path, names) for _ in range(noise)
  ]
  rng.shuffle(facts)
  places = solve(facts, path[0])
  return Story(
    facts=tuple(facts),
    sentences=tuple(tell(rng, fact) for fact in facts),
    asked=(path[-1], path[0]),
    path=tuple(path),
    places=places,
    answer=relation(places[path[-1]]),
  )


def _noise(
  rng: random.Random,
  kind: str,
  where: dict[str, Point],
  path: list[str],
  names: list[str],
) -> Fact:
  if kind == "supporting":
    pairs = [
      Fact(a, name, b)
      for a in path
      for b in path
      for name, (x, y) in RELATIONS.items()
      if a != b
      and name != "overlap"
      and where[a] == (where[b][0] + x, where[b][1] + y)
    ]
    return rng.choice(pairs)
  move = rng.choice([x for x in RELATIONS if x != "overlap"])
  other = names.pop() if kind == "disconnected" else rng.choice(path)
  return Fact(names.pop(), move, other)


def tell(rng: random.Random, fact: Fact) -> str:
  """Returns a sentence that says the fact, of twenty for each relation."""
  way = rng.choice(_WAYS[fact.relation])
  return rng.choice(_CARDINAL).format(a=fact.a, way=way, b=fact.b)


def opposite(name: str) -> str:
  """Returns where b lies, seen from a, if a lies there seen from b."""
  x, y = RELATIONS[name]
  return relation((-x, -y))


def relation(point: Point) -> str:
  """Returns the name of the direction of a point."""
  x, y = point
  sign = ((x > 0) - (x < 0), (y > 0) - (y < 0))
  return next(name for name, step in RELATIONS.items() if step == sign)


def solve(facts: Sequence[Fact], origin: str) -> dict[str, Point]:
  """Returns where every letter that is linked with the origin lies.

  Breadth first; the origin is (0, 0).
  """
  near: dict[str, list[tuple[str, Point]]] = collections.defaultdict(list)
  for a, name, b in facts:
    x, y = RELATIONS[name]
    near[b].append((a, (x, y)))
    near[a].append((b, (-x, -y)))
  places, queue = {origin: (0, 0)}, collections.deque([origin])
  while queue:
    here = queue.popleft()
    for other, (x, y) in near[here]:
      if other not in places:
        places[other] = (places[here][0] + x, places[here][1] + y)
        queue.append(other)
  return places
