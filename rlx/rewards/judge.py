"""Rewards by a judge: a model that is asked what something is worth.

    endpoint = judge_http.Endpoint("https://host/v1", "name")
    reward = judge.outcome(judge.reading(endpoint), rubric="Is it right?")

A judge that gives no verdict abstains: the reward is None, never 0, and that is
counted in the metric `abstained`. Verdicts are from 0 to 1.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rlx.rewards import judge_prompts

Conversation = judge_prompts.Conversation
# Texts to questions; None where there is no answer.
Ask = Callable[[Sequence[Conversation]], list[str | None]]
# Of a completion, its steps.
Split = Callable[[Any], list[str]]


class Grades(NamedTuple):
  """Verdicts on questions.

  Attributes:
    values: from 0 to 1; None where the judge gave none.
    counts: what else is to be logged of this call, by name.
  """

  values: list[float | None]
  counts: Mapping[str, float | int]


class Judge(NamedTuple):
  """A judge.

  Attributes:
    reply: what it is asked to reply with, at the end of each question.
    grade: a verdict on each question.
  """

  reply: str
  grade: Callable[[Sequence[Conversation]], Grades]


def reading(
  ask: Ask,
  *,
  low: float | int = 0,
  high: float | int = 10,
  attempts: int = 2,
) -> Judge:
  """A judge whose verdicts are read out of what it writes, as "Score: 7".

  Args:
    ask: an `Endpoint`, or a policy's `judge_policy.writer`.
    low: the score that is worth 0.
    high: the score that is worth 1.
    attempts: how often a question is put until its answer can be read.
  """
  _check(low, high, attempts)
  reply = (
    "Think briefly. Then end with one line, and nothing behind it:\nScore: N\n"
    f"where N is a number from {low:g} (worst) to {high:g} (best)."
  )

  def grade(conversations: Sequence[Conversation]) -> Grades:
    read = lambda text, _: judge_prompts.score(text, low, high)
    return Grades(*_read_all(ask, conversations, attempts, read))

  return Judge(reply, grade)


def outcome(
  judge: Judge, *, rubric: str, reference: str | None = "answer"
) -> Callable[..., list[float | None]]:
  """A TRL-shaped reward: the judge's verdict on each whole completion.

  Args:
    judge: whom to ask.
    rubric: what makes a completion good, in words.
    reference: column with a right answer to show the judge; ignored where the
      data has none, and None shows none.
  """

  def judged(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    log_metric: Callable[[str, float], None] | None = None,
    **columns: Any,
  ) -> list[float | None]:
    right = columns.get(reference or "", [None] * len(prompts))
    questions = [
      judge_prompts.outcome(
        rubric,
        judge_prompts.text_of(prompt),
        judge_prompts.text_of(completion),
        None if known is None else str(known),
        judge.reply,
      )
      for prompt, completion, known in zip(
        prompts, completions, right, strict=True
      )
    ]
    values, counts = judge.grade(questions)
    _log(values, counts, log_metric)
    return values

  return judged


def steps(
  judge: Judge, *, rubric: str, split: Split = judge_prompts.steps_of
) -> Callable[..., list[list[float | None] | None]]:
  """A TRL-shaped reward of each step, one question a step, after those before.

  A step without a verdict is worth 0, a completion without any abstains.

  Args:
    judge: whom to ask.
    rubric: what makes a step good, in words.
    split: completion to steps, as many as rlx has of it.
  """

  def judged_steps(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    log_metric: Callable[[str, float], None] | None = None,
    **columns: Any,
  ) -> list[list[float | None] | None]:
    del columns
    parts = [split(completion) for completion in completions]
    questions = [
      judge_prompts.step(
        rubric, judge_prompts.text_of(prompt), own[:i], own[i], judge.reply
      )
      for prompt, own in zip(prompts, parts, strict=True)
      for i in range(len(own))
    ]
    values, counts = judge.grade(questions)
    _log(values, counts, log_metric)
    rest = iter(values)
    rows = [[next(rest) for _ in own] for own in parts]
    return [row if _some(row) else None for row in rows]

  return judged_steps


def listed_steps(
  ask: Ask,
  *,
  rubric: str,
  low: float | int = 0,
  high: float | int = 10,
  attempts: int = 2,
  split: Split = judge_prompts.steps_of,
) -> Callable[..., list[list[float] | None]]:
  """A TRL-shaped reward of each step, from one question a completion.

  The judge replies with a list of one score a step; with another number of
  them it is asked again, and abstains in the end.

  Args:
    ask: an `Endpoint`, or a policy's `judge_policy.writer`.
    rubric: what makes a step good, in words.
    low: the score that is worth 0.
    high: the score that is worth 1.
    attempts: how often a question is put until its answer can be read.
    split: completion to steps, as many as rlx has of it.
  """
  _check(low, high, attempts)

  def judged_steps(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    log_metric: Callable[[str, float], None] | None = None,
    **columns: Any,
  ) -> list[list[float] | None]:
    del columns
    parts = [split(completion) for completion in completions]
    questions = [
      judge_prompts.steps(
        rubric, judge_prompts.text_of(prompt), own, _list(len(own), low, high)
      )
      for prompt, own in zip(prompts, parts, strict=True)
    ]
    read = lambda text, i: judge_prompts.scores(text, len(parts[i]), low, high)
    values, counts = _read_all(ask, questions, attempts, read)
    _log(values, counts, log_metric)
    return values

  return judged_steps


def _list(num: int, low: float | int, high: float | int) -> str:
  return (
    "Think briefly. Then end with one line, and nothing behind it: a JSON list"
    f" of {num} scores, one of each step in order, each from {low:g} (worst) to"
    f" {high:g} (best)."
  )


def _some(row: Sequence[float | None]) -> bool:
  return not row or any(value is not None for value in row)


def _read_all(
  ask: Ask,
  conversations: Sequence[Conversation],
  attempts: int,
  read: Callable[[str, int], Any],
) -> tuple[list[Any], dict[str, float | int]]:
  """What can be read of the answers, and the counts of this call.

  A question whose answer cannot be read is put again.
  """
  values: list[Any] = [None] * len(conversations)
  before = dict(_counts(ask))
  open_, malformed, unanswered = list(range(len(conversations))), 0, 0
  for _ in range(attempts):
    if not open_:
      break
    again = []
    answers = ask([conversations[i] for i in open_])
    for i, text in zip(open_, answers, strict=True):
      if text is None:
        unanswered += 1
        continue
      values[i] = read(text, i)
      if values[i] is None:
        malformed += 1
        again.append(i)
    open_ = again
  counts = {"malformed": malformed, "unanswered": unanswered}
  spent = {name: x - before.get(name, 0) for name, x in _counts(ask).items()}
  return values, {**spent, **counts}


def _counts(ask: Ask) -> Mapping[str, float | int]:
  """What an endpoint has counted so far, and nothing of who counts nothing."""
  return getattr(ask, "counts", {})


def _log(
  values: Sequence[Any],
  counts: Mapping[str, float | int],
  log_metric: Callable[[str, float], None] | None,
) -> None:
  if log_metric is None:
    return
  without = sum(value is None for value in values)
  log_metric("abstained", without / max(len(values), 1))
  for name, count in counts.items():
    log_metric(name, count)


def _check(low: float | int, high: float | int, attempts: int) -> None:
  if not low < high or attempts < 1:
    raise ValueError(
      f"{low=} must be below {high=}, and {attempts=} must be 1 or more"
    )
