"""Household problems in the PDDL of ALFRED: a house, things in it, a goal."""

import random
from typing import NamedTuple

KINDS = ("pick", "clean", "heat", "cool", "look", "two")

# Receptacles: how many there are, at most, and whether they open.
_FURNITURE = {
  "cabinet": (4, True),
  "drawer": (3, True),
  "shelf": (3, False),
  "countertop": (2, False),
  "diningtable": (1, False),
  "desk": (1, False),
  "garbagecan": (1, False),
  "fridge": (1, True),
  "microwave": (1, True),
  "sinkbasin": (1, False),
}
_ALWAYS = ("countertop", "desk", "fridge", "microwave", "sinkbasin")
_TYPES = {
  "cabinet": "CabinetType",
  "drawer": "DrawerType",
  "shelf": "ShelfType",
  "countertop": "CounterTopType",
  "diningtable": "DiningTableType",
  "desk": "DeskType",
  "garbagecan": "GarbageCanType",
  "fridge": "FridgeType",
  "microwave": "MicrowaveType",
  "sinkbasin": "SinkBasinType",
}
_SURFACES = ("countertop", "diningtable")
_FOOD = (*_SURFACES, "fridge", "microwave", "sinkbasin", "garbagecan")
_DISHES = (*_SURFACES, "cabinet", "shelf", "sinkbasin", "microwave", "fridge")
_CUTLERY = (*_SURFACES, "drawer", "sinkbasin")
_PAPER = (*_SURFACES, "desk", "drawer", "shelf", "garbagecan")

# Things: where they may be, and what can be done with them.
_THINGS = {
  "apple": (_FOOD, ("cleanable", "heatable", "coolable")),
  "tomato": (_FOOD, ("cleanable", "heatable", "coolable")),
  "potato": (_FOOD, ("cleanable", "heatable", "coolable")),
  "bread": (_FOOD, ("heatable", "coolable")),
  "mug": (_DISHES, ("cleanable", "heatable", "coolable")),
  "plate": (_DISHES, ("cleanable", "heatable", "coolable")),
  "bowl": (_DISHES, ("cleanable", "coolable")),
  "fork": (_CUTLERY, ("cleanable",)),
  "spoon": (_CUTLERY, ("cleanable",)),
  "knife": (_CUTLERY, ("cleanable",)),
  "book": (_PAPER, ()),
  "pen": (_PAPER, ()),
  "pencil": (_PAPER, ()),
}
_DOING = {"clean": "cleanable", "heat": "heatable", "cool": "coolable"}
_DONE = {"clean": "isClean", "heat": "isHot", "cool": "isCool"}
_SAID = {"clean": "clean", "heat": "hot", "cool": "cool"}


class Problem(NamedTuple):
  """A problem and its goal in words."""

  pddl: str
  goal: str


def draw(rng: random.Random, kind: str, things: int) -> Problem:
  """Returns a problem of a kind of `KINDS`, with `things` things in the house.

  pick: put one somewhere; clean, heat, cool: and do that to it before; look: at
  one under the lamp; two: put two of them somewhere.
  """
  furniture = {
    name: rng.randint(int(name in _ALWAYS), most)
    for name, (most, _) in _FURNITURE.items()
  }
  where = [
    f"{x}_{i}" for x, num in furniture.items() for i in range(1, num + 1)
  ]
  can = [
    x
    for x, (_, doing) in _THINGS.items()
    if _DOING.get(kind, "") in ("", *doing)
  ]
  thing = rng.choice(can)
  # "book" may be looked at wherever it is; the others go where they belong.
  places = [x for x in _THINGS[thing][0] if furniture[x]]
  target = rng.choice(places)
  names = [thing] * (2 if kind == "two" else 1)
  names += [rng.choice([*_THINGS]) for _ in range(things - len(names))]
  lying = _lay(rng, names, furniture, target if kind != "look" else "")
  return Problem(
    _write(where, lying, _goal(kind, thing, target)),
    _words(kind, thing, target),
  )


def _lay(
  rng: random.Random, names: list[str], furniture: dict[str, int], target: str
) -> list[tuple[str, str]]:
  """Returns (thing, receptacle): none of the target's kind is there yet."""
  out, count = [], dict.fromkeys(_THINGS, 0)
  for name in names:
    count[name] += 1
    places = [x for x in _THINGS[name][0] if furniture[x] and x != target]
    place = rng.choice(places)
    out.append(
      (f"{name}_{count[name]}", f"{place}_{rng.randint(1, furniture[place])}")
    )
  return out


def _type(name: str) -> str:
  kind = name.split("_")[0]
  return _TYPES.get(kind, f"{kind.capitalize()}Type")


def _write(where: list[str], lying: list[tuple[str, str]], goal: str) -> str:
  loc = {name: f"loc_{i}" for i, name in enumerate(where, 1)}
  facts = ["atLocation agent_1 loc_0"]
  for name in where:
    facts.append(f"receptacleAtLocation {name} {loc[name]}")
    facts.append(f"receptacleType {name} {_type(name)}")
    if _FURNITURE[name.split("_")[0]][1]:
      facts.append(f"openable {name}")
  things = [*lying, ("desklamp_1", "desk_1")]
  for name, place in things:
    facts.append(f"objectType {name} {_type(name)}")
    facts.append(f"inReceptacle {name} {place}")
    facts.append(f"objectAtLocation {name} {loc[place]}")
    doing = _THINGS.get(name.split("_")[0], ((), ()))[1]
    may = ("toggleable",) if name == "desklamp_1" else ("pickupable", *doing)
    facts += [f"{x} {name}" for x in may]
  facts += [
    f"canContain {_TYPES[place]} {_type(thing)}"
    for thing, (places, _) in _THINGS.items()
    for place in places
  ]
  otypes = [*map(_type, _THINGS), "DesklampType", "ButterKnifeType"]
  objects = [
    "agent_1 - agent",
    f"loc_0 {' '.join(loc.values())} - location",
    f"{' '.join(where)} - receptacle",
    f"{' '.join(name for name, _ in things)} - object",
    f"{' '.join(_TYPES.values())} - rtype",
    f"{' '.join(otypes)} - otype",
  ]
  init = "\n".join(f"({fact})" for fact in facts)
  return (
    "(define (problem house) (:domain alfred)\n(:objects "
    + "\n".join(objects)
    + f")\n(:init {init})\n(:goal {goal}))"
  )


def _goal(kind: str, thing: str, target: str) -> str:
  is_a = lambda o: f"(objectType {o} {_type(thing)})"
  if kind == "look":
    return (
      "(exists (?o - object ?a - agent ?l - location) (and "
      f"{is_a('?o')} (holds ?a ?o) (isToggled desklamp_1) (atLocation ?a ?l) "
      "(objectAtLocation desklamp_1 ?l)))"
    )
  into = lambda o: f"{is_a(o)} (inReceptacle {o} ?r)"
  there = f"(receptacleType ?r {_TYPES[target]})"
  if kind == "two":
    return (
      f"(exists (?r - receptacle ?o ?p - object) (and {there} {into('?o')} "
      f"{into('?p')} (not (= ?o ?p))))"
    )
  done = f"({_DONE[kind]} ?o)" if kind in _DONE else ""
  return (
    f"(exists (?r - receptacle ?o - object) (and {there} {into('?o')} {done}))"
  )


def _words(kind: str, thing: str, target: str) -> str:
  if kind == "look":
    return f"look at {thing} under the desklamp"
  if kind == "two":
    return f"put two {thing} in {target}"
  state = f"a {_SAID[kind]}" if kind in _SAID else "some"
  return f"put {state} {thing} in {target}"
