"""A question answered with tools: turns that call, and one that answers."""

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rlx.envs import protocol
from rlx.rewards import calls as reward_calls
from rlx.rewards import combine
from rlx.tools import hermes
from rlx.tools import tool as tools

# Calls of one turn with what each came to.
Turn = tuple[tuple[hermes.Call, tools.Result], ...]

# Columns that reward functions are given beside those of the data set.
COLUMNS = (
  "truncated",
  "transcript",
  "tool_calls",
  "tool_results",
  "num_tool_calls",
  "num_tool_errors",
  "environments",
)


class Rules(NamedTuple):
  """What holds for all episodes of a task.

  Attributes:
    rewards: paid at the end, see `rlx.rewards.combine`.
    weights: one each; None for 1.
    turn_rewards: paid after each turn, for what was said in it.
    success_above: an episode succeeds where the first reward is above this.
    turns: that an episode may take.
    max_tool_calls: that it may make in all.
    max_parse_errors: turns that cannot be read, with which it ends; 0 for none.
    max_response: characters of a tool's answer; the rest is left out.
    read: `(text) -> hermes.Said`.
    respond: `(results) -> str`.
    evidence: `(turns so far) -> {name: number}` for the last of them, of the
      step table; None for none.
  """

  rewards: tuple[Callable[..., Any], ...]
  weights: tuple[float, ...] | None = None
  turn_rewards: tuple[Callable[..., Any], ...] = ()
  success_above: float = 0.5
  turns: int = 8
  max_tool_calls: int = 16
  max_parse_errors: int = 0
  max_response: int = 4000
  read: Callable[[str], hermes.Said] = hermes.read
  respond: Callable[[Sequence[tools.Result]], str] = hermes.respond
  evidence: Callable[[tuple[Turn, ...]], dict[str, float]] | None = None


@dataclasses.dataclass(frozen=True)
class _State:
  """What has happened so far."""

  turns: tuple[Turn, ...] = ()
  messages: tuple[Mapping[str, Any], ...] = ()
  num_unread: int = 0

  @property
  def results(self) -> list[tuple[hermes.Call, tools.Result]]:
    return [pair for turn in self.turns for pair in turn]

  def key(self) -> tuple[Any, ...]:
    """What the next action depends on: what was asked of tools, and told."""
    return tuple(
      (call.name, repr(call.arguments), result.text)
      for call, result in self.results
    )


class ToolEpisode:
  """One question; see `task.ToolTask` for what ends it and what it pays.

  `info["stop"]` says why it ended: "completed" by an answer, "tool_stopped",
  "max_turns", "max_tool_calls" or "parse_error".
  """

  def __init__(
    self,
    rules: Rules,
    row: Mapping[str, Any],
    prompt: str,
    known: Mapping[str, tools.Tool],
    environment: Callable[[], Any] | None = None,
  ):
    """Prepares an episode.

    Args:
      rules: of the task.
      row: of the data set.
      prompt: what is shown first.
      known: the tools, but for those of the environment.
      environment: makes one in TRL's style, whose methods are tools too.
    """
    self._rules, self._row, self._prompt = rules, row, prompt
    self._fixed, self._make = known, environment
    self._environment: Any = None
    self._tools = dict(known)
    self._state = _State()

  def reset(self, seed: int) -> tuple[str, protocol.Info]:
    del seed  # The row says everything.
    self._state, shown = _State(), self._prompt
    if self._make is not None:
      self._environment = self._make()
      self._bind()
      row = reward_calls.accepted(self._environment.reset, self._row)
      more = self._environment.reset(**row)
      shown = f"{shown}{more}" if isinstance(more, str) else shown
    return shown, {"state_key": ()}

  def step(self, action: str) -> tuple[str, float, bool, bool, protocol.Info]:
    said, rules = self._rules.read(action), self._rules
    if said.error is not None:
      return self._unread(said)
    if not said.calls:
      self._extend((), _message("assistant", said.text))
      return self._end("completed", said.text, paid=self._paid_for_turn(said))
    if len(self._state.results) + len(said.calls) > rules.max_tool_calls:
      self._extend((), _called(said))
      return self._end("max_tool_calls", None, self._paid_for_turn(said))
    turn = tuple((call, self._call(call)) for call in said.calls)
    answers = (_message("tool", r.text, name=c.name) for c, r in turn)
    self._extend(turn, _called(said), *answers)
    results, paid = [result for _, result in turn], self._paid_for_turn(said)
    if any(result.ends for result in results):
      return self._end("tool_stopped", None, paid)
    return self._go_on(rules.respond(results), paid, False)

  def snapshot(self) -> Any:
    return self._state, copy.deepcopy(self._environment)

  def restore(self, snapshot: Any, seed: int) -> None:
    del seed  # What is left to chance is the tools'.
    self._state, environment = snapshot
    self._environment = copy.deepcopy(environment)
    self._bind()

  def _bind(self) -> None:
    """Makes the environment's methods tools, beside the fixed ones."""
    own = (
      []
      if self._environment is None
      else tools.of_environment(self._environment)
    )
    self._tools = tools.named([*self._fixed.values(), *own])

  def _unread(self, said: hermes.Said):
    self._extend((), _message("assistant", said.text), unread=1)
    paid = self._paid_for_turn(said)
    if self._state.num_unread == self._rules.max_parse_errors:
      return self._end("parse_error", None, paid, unread=True)
    refusal = tools.Result(f"error: {said.error}", error=True)
    return self._go_on(self._rules.respond([refusal]), paid, True)

  def _call(self, call: hermes.Call) -> tools.Result:
    result = tools.call(self._tools, call.name, call.arguments)
    left = len(result.text) - self._rules.max_response
    if left <= 0:
      return result
    kept = result.text[: self._rules.max_response]
    return result._replace(text=f"{kept}\n[{left} more characters]")

  def _extend(self, turn: Turn, *messages: Mapping[str, Any], unread: int = 0):
    state = self._state
    self._state = _State(
      turns=(*state.turns, turn),
      messages=(*state.messages, *messages),
      num_unread=state.num_unread + unread,
    )

  def _go_on(self, shown: str, paid: float, unread: bool):
    if len(self._state.turns) >= self._rules.turns:
      return self._end("max_turns", None, paid, unread)
    return shown, paid, False, False, self._info(unread)

  def _end(
    self, stop: str, answer: str | None, paid: float, unread: bool = False
  ):
    """Pays for the whole; without an answer there is none to read one from."""
    finished = stop not in ("max_turns", "max_tool_calls")
    reward, success = self._score(answer, not finished)
    info = self._info(unread) | {"stop": stop, "success": success}
    return "", paid + reward, finished, not finished, info

  def _info(self, unread: bool) -> protocol.Info:
    info: protocol.Info = {
      "state_key": self._state.key(),
      "parse_error": unread,
    }
    if self._rules.evidence is not None:
      info["evidence"] = self._rules.evidence(self._state.turns)
    return info

  def _score(self, answer: str | None, truncated: bool) -> tuple[float, bool]:
    own, rules = getattr(self._environment, "get_reward", None), self._rules
    reward = float(own()) if own is not None else 0.0
    first = reward
    if rules.rewards:
      completion: Any = answer or ""
      if not isinstance(self._row["prompt"], str):
        completion = [*self._state.messages]
        if answer is None:
          completion.append(_message("assistant", ""))
      columns = self._columns() | {"truncated": [truncated]}
      found = self._scored(rules.rewards, rules.weights, completion, columns)
      reward += float(found.total[0])
      first = float(found.values[0, 0])
    return reward, bool(not math.isnan(first) and first > rules.success_above)

  def _paid_for_turn(self, said: hermes.Said) -> float:
    rules = self._rules
    if not rules.turn_rewards:
      return 0.0
    # Where all of them abstain, nothing is paid.
    functions = (*rules.turn_rewards, _nothing)
    columns = self._columns() | {"truncated": [False]}
    found = self._scored(functions, None, said.text, columns)
    return float(found.total[0])

  def _columns(self) -> dict[str, list[Any]]:
    results = self._state.results
    columns = combine.columns_of([self._row]) | {
      "transcript": [[*self._state.messages]],
      "tool_calls": [[call for call, _ in results]],
      "tool_results": [[result for _, result in results]],
      "num_tool_calls": [len(results)],
      "num_tool_errors": [sum(result.error for _, result in results)],
      "environments": [self._environment],
    }
    return columns

  def _scored(self, functions, weights, completion, columns) -> combine.Scores:
    prompts = [self._row["prompt"]]
    return combine.score(
      functions, weights, prompts, [completion], [[]], columns
    )


def _nothing(completions: Sequence[Any]) -> list[float]:
  return [0.0] * len(completions)


def _message(role: str, content: str, **more: Any) -> dict[str, Any]:
  return {"role": role, **more, "content": content}


def _called(said: hermes.Said) -> dict[str, Any]:
  """A turn that calls tools, as TRL has it."""
  called = [
    {"type": "function", "function": call._asdict()} for call in said.calls
  ]
  return _message("assistant", said.text) | {"tool_calls": called}
