"""ProcBench's procedures on strings: each draws a problem of so many steps."""

import random
import string
from typing import Any, NamedTuple


class Problem(NamedTuple):
  """A procedure, what it is applied to, and every state it goes through.

  Attributes:
    rule: what is to be done at each step.
    given: what it is done to.
    initial: the state before the first step.
    states: after each step; the last is the final one.
  """

  rule: str
  given: str
  initial: Any
  states: list[Any]


def letters(rng: random.Random, num: int, chars: str = "") -> str:
  """Returns `num` characters, lower-case letters unless given."""
  return "".join(rng.choices(chars or string.ascii_lowercase, k=num))


def strings(rng: random.Random, num: int, shortest: int, longest: int):
  """Returns strings of letters and digits."""
  chars = string.ascii_lowercase + string.digits
  return [
    letters(rng, rng.randint(shortest, longest), chars) for _ in range(num)
  ]


def sort(rng: random.Random, steps: int) -> Problem:
  while True:
    text = letters(rng, rng.randint(steps + 1, steps + 6))
    states = _sorted(text)
    if len(states) == steps:
      break
  rule = (
    "Sort the string alphabetically by swaps of two characters. From left to "
    "right, each position takes the first character at or behind it that is "
    "the smallest there: the two change places. A state is the string after a "
    "swap that changed it."
  )
  return Problem(rule, f"String: {text}", text, states)


def _sorted(text: str) -> list[str]:
  states, now = [], list(text)
  for place in range(len(now)):
    least = min(range(place, len(now)), key=lambda i: (now[i], i))
    if least != place:
      now[place], now[least] = now[least], now[place]
      states.append("".join(now))
  return states


def gather(rng: random.Random, steps: int) -> Problem:
  pool = strings(rng, rng.randint(2, 8), 5, 10)
  cuts, now, states = [], "", []
  for _ in range(steps):
    n = rng.randrange(len(pool))
    start = rng.randrange(len(pool[n]))
    count = rng.randint(1, len(pool[n]) - start)
    cuts.append((n, start, count))
    now += pool[n][start : start + count]
    states.append(now)
  rule = (
    "Start with an empty string. For each (N, i, n), take n characters of "
    "string N, beginning with character i, both counted from 0, and append "
    "them. A state is the string so far."
  )
  return Problem(rule, f"Strings: {pool}\nNumbers: {cuts}", "", states)


def copy(rng: random.Random, steps: int) -> Problem:
  pool = strings(rng, rng.randint(3, 8), 3, 8)
  order = [rng.randrange(len(pool)) for _ in range(steps)]
  states = ["".join(pool[i] for i in order[: k + 1]) for k in range(steps)]
  rule = (
    "Start with an empty string. For each index, counted from 0, append the "
    "string it names. A state is the string so far."
  )
  return Problem(rule, f"Strings: {pool}\nIndices: {order}", "", states)


def substitute(rng: random.Random, steps: int) -> Problem:
  text = letters(rng, steps)
  some = sorted({*text})
  keys = rng.sample(some, rng.randint(1, len(some)))
  table = {key: letters(rng, 1) for key in sorted(keys)}
  now, states = list(text), []
  for i, char in enumerate(text):
    now[i] = table.get(char, char)
    states.append("".join(now))
  pairs = ", ".join(f"({a}, {b})" for a, b in table.items())
  rule = (
    "Go through the string from the left. A character that is the first of a "
    "pair is replaced by the second. A state is the string after each "
    "character, changed or not."
  )
  return Problem(rule, f"Pairs: {pairs}\nString: {text}", text, states)


def encode(rng: random.Random, steps: int) -> Problem:
  runs = _runs(rng, steps)
  text = "".join(char * num for char, num in runs)
  words = [f"{char}_{num}" for char, num in runs]
  rule = (
    "Go through the string from the left and write each run of equal "
    "characters as CHARACTER_LENGTH. A state is the list of what was written "
    "so far."
  )
  states: list[Any] = [words[: k + 1] for k in range(steps)]
  return Problem(rule, f"String: {text}", [], states)


def decode(rng: random.Random, steps: int) -> Problem:
  runs, now, states = _runs(rng, steps), "", []
  for char, num in runs:
    now += char * num
    states.append(now)
  code = " ".join(f"{char}x{num}" for char, num in runs)
  rule = (
    "Start with an empty string. Each piece AxB stands for B times the "
    "character A: append them. A state is the string so far."
  )
  return Problem(rule, f"Pieces: {code}", "", states)


def _runs(rng: random.Random, num: int) -> list[tuple[str, int]]:
  first = rng.randint(0, 1)
  return [(str((first + i) % 2), rng.randint(1, 9)) for i in range(num)]


def decompose(rng: random.Random, steps: int) -> Problem:
  keys = rng.sample(string.ascii_lowercase, rng.randint(2, 6))
  rest = "".join(c for c in string.ascii_lowercase if c not in keys)
  rules = {key: letters(rng, 2, rest) for key in sorted(keys)}
  text = list(letters(rng, steps, "".join(keys)))
  for _ in range(rng.randint(0, steps)):
    text.insert(rng.randint(0, len(text)), letters(rng, 1, rest))
  now, states = "".join(text), []
  for _ in range(steps):
    at = next(i for i, char in enumerate(now) if char in rules)
    now = now[:at] + rules[now[at]] + now[at + 1 :]
    states.append(now)
  shown = ", ".join(f"{key} -> {value}" for key, value in rules.items())
  rule = (
    "Replace the leftmost character that has a rule by the two it stands for, "
    "until none has. A state is the string after each replacement."
  )
  given = f"Rules: {shown}\nString: {''.join(text)}"
  return Problem(rule, given, "".join(text), states)


def rhythm(rng: random.Random, steps: int) -> Problem:
  numbers = [rng.randint(0, 9) for _ in range(rng.randint(2, 5))]
  chars = [letters(rng, 1, "abcd") for _ in range(rng.randint(2, 5))]
  now, states = "", []
  for i in range(steps):
    now += f"{numbers[i % len(numbers)]}{chars[i % len(chars)]}"
    states.append(now)
  rule = (
    f"Start with an empty string. In each of {steps} steps append the next "
    "number and then the next character; behind the last comes the first "
    "again. A state is the string so far."
  )
  given = f"Numbers: {numbers}\nCharacters: {', '.join(chars)}"
  return Problem(rule, given, "", states)


def push_pop(rng: random.Random, steps: int) -> Problem:
  text = now = letters(rng, rng.randint(3, 8))
  actions, states = [], []
  for _ in range(steps):
    left = rng.random() < 0.5
    side = "left" if left else "right"
    if now and rng.random() < 0.5:
      actions.append(f"pop_{side}")
      now = now[1:] if left else now[:-1]
    else:
      char = letters(rng, 1)
      actions.append(f"push_{side}({char})")
      now = char + now if left else now + char
    states.append(now)
  rule = (
    "pop_left and pop_right remove the first and the last character, "
    "push_left(A) and push_right(A) put A before the first and behind the "
    "last. A state is the string after each action."
  )
  given = f"String: {text}\nActions: {', '.join(actions)}"
  return Problem(rule, given, text, states)


def rotate(rng: random.Random, steps: int) -> Problem:
  text = now = letters(rng, rng.randint(5, 12))
  pairs, states = [], []
  for _ in range(steps):
    start, end = sorted(rng.sample(range(len(text) + 1), 2))
    pairs.append((start, end))
    part = now[start:end]
    now = now[:start] + part[-1:] + part[:-1] + now[end:]
    states.append(now)
  rule = (
    "For each (m, n), shift the characters m to n - 1, counted from 0, to the "
    "right by one; the last of them becomes the first of them. A state is the "
    "string after each shift."
  )
  return Problem(rule, f"String: {text}\nPairs: {pairs}", text, states)


def delete_char(rng: random.Random, steps: int) -> Problem:
  text = now = letters(rng, rng.randint(steps + 1, steps + 8))
  gone = rng.sample(list(text), steps)
  states = []
  for char in gone:
    now = now.replace(char, "", 1)
    states.append(now)
  rule = (
    "For each letter of the list remove its first occurrence from the string. "
    "A state is the string after each removal."
  )
  given = f"String: {text}\nLetters: {', '.join(gone)}"
  return Problem(rule, given, text, states)


def move_cyclic(rng: random.Random, steps: int) -> Problem:
  width = rng.randint(4, 10)
  place = rng.randrange(width)
  draw = lambda at: "-" * at + "x" + "-" * (width - at - 1)
  first, moves, states = draw(place), [], []
  for _ in range(steps):
    direction, far = rng.choice(["right", "left"]), rng.randint(1, width)
    moves.append((direction, far))
    place = (place + (far if direction == "right" else -far)) % width
    states.append(draw(place))
  rule = (
    "Move x by each (direction, amount); beyond one end it goes on from the "
    "other. A state is the array after each move."
  )
  given = f"Array: {first}\nMoves: {moves}"
  return Problem(rule, given, first, states)
