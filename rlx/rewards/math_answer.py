"""An exact verifier of numeric answers, of GSM8K's kind.

It runs in the calling process: it reads a bounded part of the text with
patterns of linear time, works out nothing large, and executes nothing, so that
it needs no deadline. Judges without these properties (symbolic algebra, code)
belong in `rlx.rewards.process`.
"""

import collections
import enum
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rlx.rewards import numerals

MAX_TEXT = 65_536  # Characters of a completion that are read: the last ones.


class Verdict(enum.Enum):
  """What a verifier found."""

  RIGHT = "right"
  WRONG = "wrong"
  COULD_NOT_JUDGE = "could not judge"


def judge(completion: str, gold: str, *, expressions: bool = True) -> Verdict:
  """Whether a completion's final answer is the number `gold`, exactly.

  WRONG if the completion states no answer or another number. COULD_NOT_JUDGE
  if `gold` or the stated answer cannot be read as a number (a root, a
  variable, "5 or 6"), unless both are the same text. A percent sign is read
  both ways: 50% is 50 and is 0.5.

  Args:
    completion: its last 65,536 characters count.
    gold: a number, or a text with `\\boxed{}` or `####` before one.
    expressions: read "2*3+4" as 10. Turn it off where repeating the question
      would answer it.
  """
  candidate = extract(completion)
  marked = _marked(gold)
  if not marked.strip():
    return Verdict.COULD_NOT_JUDGE
  if candidate is None:
    return Verdict.WRONG
  want = numerals.parse(marked)
  got = numerals.parse(candidate, expressions)
  if want is not None and got is not None:
    return Verdict.RIGHT if _equal(want, got) else Verdict.WRONG
  if _canonical(candidate) == _canonical(marked):
    return Verdict.RIGHT
  return Verdict.COULD_NOT_JUDGE


def _marked(gold: str) -> str:
  return _boxed(gold) or _after_hashes(gold) or gold


def _equal(a: numerals.Number, b: numerals.Number) -> bool:
  if a.percent == b.percent:
    return a.value == b.value
  percent, plain = (a.value, b.value) if a.percent else (b.value, a.value)
  return plain in (percent, percent / 100)


def _canonical(text: str) -> str:
  return "".join(text.split()).strip("$.").lower()


def extract(completion: str) -> str | None:
  """The text of the final answer, or None if there is none.

  The first that is there of: the last complete `\\boxed{...}`; what follows
  the last `####` on its line; what follows the last "answer is" or "answer:"
  in its sentence; the last number.
  """
  text = completion[-MAX_TEXT:]
  for rule in (_boxed, _after_hashes, _after_answer_is, _last_number):
    found = rule(text)
    if found is not None and found.strip():
      return found.strip()
  return None


def is_marked(completion: str) -> bool:
  """Whether an answer is marked by a closed `\\boxed{}` or by `####`."""
  text = completion[-MAX_TEXT:]
  return bool(_boxed(text) or _after_hashes(text))


_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,9}\{|\\[{}]|[{}]")


def _boxed(text: str) -> str | None:
  """The content of the last box that is closed, the outermost of nested."""
  found, stack = None, []
  for match in _BOX.finditer(text):
    token = match[0]
    if token == "}" and stack:
      is_box, start = stack.pop()
      if is_box:
        found = text[start : match.start()]
    elif token[-1] == "{" and token != r"\{":
      stack.append((len(token) > 1, match.end()))
  if found is not None and "\\boxed" in found:
    inner = found[found.rindex("\\boxed") + len("\\boxed") :]
    return inner.strip().removeprefix("{").removesuffix("}")
  return found


def _after_hashes(text: str) -> str | None:
  _, marker, after = text.rpartition("####")
  if not marker:
    return None
  line = after.strip().split("\n", 1)[0]
  return _number_in(line) if any(map(str.isdigit, line)) else line


_ANSWER_IS = re.compile(r"answer[*_]{0,3}(?: is|\s?[:=])[\s:*_]{0,9}", re.I)
_SENTENCE_END = re.compile(r"[.!?;](?:\s|$)|\n|$")


def _after_answer_is(text: str) -> str | None:
  last = _last(_ANSWER_IS, text)
  if last is None:
    return None
  end = _SENTENCE_END.search(text, last.end())
  clause = text[last.end() : end.start() if end else None]
  # Without a digit it is "the answer is clear", and the number comes later.
  return _number_in(clause) if any(map(str.isdigit, clause)) else None


# The body is atomic: once read it is not given up, so time stays linear, and
# "12x" is not read as 1.
_NUMBER = re.compile(
  r"(?<![\w^])(?<!\d\.)"
  r"(?>[-−]?[$€£]?(?:\d+\s+(?=\d+/\d))?"
  r"(?:\d+(?:,\d+)*(?:\.\d+)?|(?<!\.)\.\d+)[¼-¾⅐-⅞]?"
  r"(?:[eE][+-]?\d{1,3})?(?:\s?/\s?\d+(?:,\d+)*)?(?:\s?\\?%)?)"
  r"(?=[^\w\\^]|$|(?:[kcm]?m|k?g|lbs?|oz|ft|mph|hrs?|mins?|am|pm|th)\b)"
)
_REASON = re.compile(r",\s+[A-Za-z]|\s(?:because|since|as|so|which)\b")
_ALTERNATIVE = re.compile(r"\s*(?:,|or\b|and\b|to\b|[-+*/^=])\s*[-−$€£]?\d")


def _number_in(clause: str) -> str:
  """The clause if it is a number, else its first number if one is meant."""
  clause = _REASON.split(clause, maxsplit=1)[0]
  found = _NUMBER.search(clause[: numerals.MAX_TEXT])
  if found is None or numerals.parse(clause) is not None:
    return clause
  if _ALTERNATIVE.match(clause, found.end()):
    return clause
  return found[0]


def _last_number(text: str) -> str | None:
  last = _last(_NUMBER, text)
  if last is None:
    return None
  before = text[max(0, last.start() - 2) : last.start()].rstrip()
  # In "48 - 24" the dash is no sign.
  is_difference = bool(before) and (before[-1].isdigit() or before[-1] == ")")
  return last[0].lstrip("-−") if is_difference else last[0]


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
  return next(iter(collections.deque(pattern.finditer(text), maxlen=1)), None)


def correct(
  completions: Sequence[Any],
  answer: Sequence[str],
  log_metric: Callable[[str, float], None] | None = None,
  **columns: Any,
) -> list[float | None]:
  """1 where the final answer is right, else 0; a TRL-shaped reward function.

  0 also where the completion's answer could not be judged, as abstaining would
  pay for writing what no verifier reads; their fraction is logged as
  `could_not_judge`. None where the row's `answer` itself cannot be read.

  Args:
    completions: texts, or lists of messages.
    answer: the column of that name.
    log_metric: called with a name and a number.
    columns: ignored.
  """
  del columns
  verdicts = [
    judge(text_of(completion), str(gold))
    for completion, gold in zip(completions, answer, strict=True)
  ]
  unclear = [v is Verdict.COULD_NOT_JUDGE for v in verdicts]
  if log_metric is not None:
    log_metric("could_not_judge", sum(unclear) / max(len(unclear), 1))
  readable = [numerals.parse(_marked(str(gold))) is not None for gold in answer]
  return [
    float(verdict is Verdict.RIGHT) if known or not vague else None
    for verdict, vague, known in zip(verdicts, unclear, readable, strict=True)
  ]


def text_of(completion: str | Sequence[Mapping[str, Any]]) -> str:
  """A completion's text, whether it is text or a list of messages."""
  if isinstance(completion, str):
    return completion
  return "\n".join(message["content"] for message in completion)
