"""ProcBench's procedures on numbers, lists and sentences."""

import itertools
import random
import string
from typing import Any

from rlx.envs import procbench_strings as strings

# Words for sentences: the original takes those of an encyclopaedia.
_WORDS = (
  "a river runs past the old mill and under seven bridges before it meets "
  "cold salt water near some quiet town where children fish from wooden boats "
  "every summer while their parents sell bread cheese honey apples at market "
  "stalls along narrow streets that climb towards green hills covered with "
  "vines sheep paths stone walls small white houses facing south"
)


def count(rng: random.Random, steps: int) -> strings.Problem:
  texts = strings.strings(rng, steps - 1, 4, 9)
  rows: list[Any] = []
  for text in texts:
    digits = "".join(c for c in text if c.isdigit())
    num, value = sum(c.isalpha() for c in text), int(digits or 0)
    rows.append([text, num, value, num * value])
  total = sum(row[3] for row in rows)
  rule = (
    "For each string, N1 is its number of letters, N2 the number that its "
    "digits make in their order (0 without any) and N3 their product. A state "
    "is [string, N1, N2, N3]; the final one is the sum of all N3."
  )
  return strings.Problem(rule, f"Strings: {texts}", 0, [*rows, total])


def search(rng: random.Random, steps: int) -> strings.Problem:
  parts = [strings.letters(rng, 2) for _ in range(steps)]
  texts = []
  for _ in range(5):
    text = strings.letters(rng, rng.randint(2, 6))
    for part in rng.choices(parts, k=rng.randint(0, 2)):
      at = rng.randint(0, len(text))
      text = text[:at] + part + text[at:]
    texts.append(text)
  now, states = [0] * len(texts), []
  for part in parts:
    now = [a + text.count(part) for a, text in zip(now, texts, strict=True)]
    states.append(now)
  rule = (
    "Start with a list of zeros, one for each string. For each substring add "
    "to each entry how often it occurs in that string. A state is the list "
    "after each substring."
  )
  given = f"Strings: {', '.join(texts)}\nSubstrings: {', '.join(parts)}"
  return strings.Problem(rule, given, [0] * len(texts), states)


def split1(rng: random.Random, steps: int) -> strings.Problem:
  text = strings.letters(rng, rng.randint(steps + 2, steps + 8))
  places = rng.sample(range(1, len(text)), steps)
  states = []
  for k in range(steps):
    ends = [0, *sorted(places[: k + 1]), len(text)]
    states.append([text[a:b] for a, b in itertools.pairwise(ends)])
  rule = (
    "Split the string before each position, counted from 0 in the string as "
    "it was. A state is the list of parts after each split."
  )
  given = f"String: {text}\nPositions: {', '.join(map(str, places))}"
  return strings.Problem(rule, given, [text], states)


def split2(rng: random.Random, steps: int) -> strings.Problem:
  text = strings.letters(rng, rng.randint(steps + 2, steps + 8))
  parts, pairs, states = [text], [], []
  for _ in range(steps):
    n = rng.choice([i for i, part in enumerate(parts) if len(part) > 1])
    at = rng.randint(1, len(parts[n]) - 1)
    pairs.append((n, at))
    halves = [parts[n][:at], parts[n][at:]]
    parts = [*parts[:n], *halves, *parts[n + 1 :]]
    states.append(parts)
  rule = (
    "For each (i, j), split part i before its character j, both counted from "
    "0. A state is the list of parts after each split."
  )
  return strings.Problem(
    rule, f"String: {text}\nPairs: {pairs}", [text], states
  )


def compose(rng: random.Random, steps: int) -> strings.Problem:
  while True:
    text = strings.letters(rng, rng.randint(steps + 1, steps + 4), "abcdef")
    pairs = {text[i : i + 2] for i in range(len(text) - 1)}
    keys = sorted(pairs)
    rng.shuffle(keys)
    rules = {
      key: strings.letters(rng, 1, "abcdef")
      for key in keys[: rng.randint(1, len(keys))]
    }
    states = _composed(text, rules)
    if len(states) == steps:
      break
  shown = ", ".join(f"{k[0]}, {k[1]} -> {v}" for k, v in rules.items())
  rule = (
    "A rule A, B -> C replaces A directly followed by B with C. Replace the "
    "rightmost two characters that have a rule, until none have. A state is "
    "the list of characters after each replacement."
  )
  given = f"Rules: {shown}\nCharacters: {', '.join(text)}"
  return strings.Problem(rule, given, list(text), states)


def _composed(text: str, rules: dict[str, str]) -> list[Any]:
  states: list[Any] = []
  while True:
    places = range(len(text) - 2, -1, -1)
    at = next((i for i in places if text[i : i + 2] in rules), None)
    if at is None:
      return states
    text = text[:at] + rules[text[at : at + 2]] + text[at + 2 :]
    states.append(list(text))


def compare(rng: random.Random, steps: int) -> strings.Problem:
  target = strings.letters(rng, rng.randint(4, 8))
  words, matches = [], []
  for _ in range(steps - 1):
    keep = rng.randint(1, len(target) - 1)
    other = rng.choice([c for c in "abcdefgh" if c != target[keep]])
    rest = strings.letters(rng, len(target) - keep - 1)
    words.append(target[:keep] + other + rest)
    matches.append(target[:keep])
  after = [strings.letters(rng, len(target)) for _ in range(rng.randint(0, 2))]
  rule = (
    "Compare the target with each string in turn, until one is equal. A state "
    "is the beginning that a string has in common with the target; the final "
    "one is the list of all these, the target itself last."
  )
  given = f"Target: {target}\nStrings: {[*words, target, *after]}"
  return strings.Problem(rule, given, "", [*matches, [*matches, target]])


def count2(rng: random.Random, steps: int) -> strings.Problem:
  words = _sentence(rng, steps)
  now, states = [0] * 26, []
  for word in words:
    letters = string.ascii_lowercase
    now = [a + word.count(c) for a, c in zip(now, letters, strict=True)]
    states.append(now)
  rule = (
    "Count the letters of the sentence word by word. A state is the list of "
    "the 26 counts so far, from a to z, zeros included, after each word."
  )
  given = f"Sentence: {' '.join(words)}"
  return strings.Problem(rule, given, [0] * 26, states)


def fill_word(rng: random.Random, steps: int) -> strings.Problem:
  words = _sentence(rng, steps + rng.randint(1, 4))
  places = rng.sample(range(len(words)), steps)
  now, pairs, states = list(words), [], []
  for number, place in enumerate(places, 1):
    pairs.append((number, words[place]))
    now[place] = f"[{number}]"
  first = " ".join(now)
  for place in places:
    now[place] = words[place]
    states.append(" ".join(now))
  rule = (
    "Replace each bracketed number of the sentence by its word, in the order "
    "of the list. A state is the sentence after each replacement."
  )
  shown = ", ".join(f"({number}, {word})" for number, word in pairs)
  given = f"Sentence: {first}\nWords: {shown}"
  return strings.Problem(rule, given, first, states)


def delete_word(rng: random.Random, steps: int) -> strings.Problem:
  words = _sentence(rng, steps + rng.randint(1, 4))
  gone = rng.sample(words, steps)
  now, states = list(words), []
  for word in gone:
    now.remove(word)
    states.append(" ".join(now))
  rule = (
    "Remove each word of the list from the sentence, one after the other. A "
    "state is the sentence after each removal."
  )
  given = f"Sentence: {' '.join(words)}\nWords: {', '.join(gone)}"
  return strings.Problem(rule, given, " ".join(words), states)


def _sentence(rng: random.Random, num: int) -> list[str]:
  """Returns distinct words."""
  return rng.sample(_WORDS.split(), num)


def cumulate(rng: random.Random, steps: int) -> strings.Problem:
  # In the order in which the original draws, so that seeds agree.
  names = rng.choices(["Add", "Multiply"], k=steps)
  operations = [
    (name, rng.randint(1, 5) if name == "Multiply" else rng.randint(0, 9))
    for name in names
  ]
  first = now = rng.randint(1, 9)
  states = []
  for name, number in operations:
    now = now + number if name == "Add" else now * number
    states.append(now)
  shown = ", ".join(f"{name} {number}" for name, number in operations)
  rule = (
    "Apply the operations to the number, one after the other. A state is the "
    "number after each."
  )
  return strings.Problem(
    rule, f"Number: {first}\nOperations: {shown}", first, states
  )


def find_cyclic(rng: random.Random, steps: int) -> strings.Problem:
  chars = string.ascii_lowercase + string.digits
  text = "".join(rng.sample(chars, rng.randint(5, 15)))
  at = rng.randrange(len(text))
  states: list[Any] = [
    [text[(at + k) % len(text)], steps - k] for k in range(1, steps)
  ]
  states.append(text[(at + steps) % len(text)])
  rule = (
    "Beginning with the letter and the number, go one letter to the right, "
    "behind the last to the first, and lower the number by one, until it is "
    "zero. A state is [letter, number]; the final one is the letter alone."
  )
  given = f"String: {text}\nLetter: {text[at]}\nNumber: {steps}"
  return strings.Problem(rule, given, [text[at], steps], states)
