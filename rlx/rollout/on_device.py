"""Episodes played on the device, written into the record the host would keep."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from rlx import policy as policies
from rlx import tokenizer as tokenizers
from rlx.envs.device import language, protocol
from rlx.rollout import device_program, device_turns, lost, played, record
from rlx.rollout import game as games

_LOG = logging.getLogger(__name__)


def maker(
  wanted: Literal["auto", "always", "never"],
  task: Any,
  tokenizer: tokenizers.Tokenizer,
  policy: policies.Policy,
  settings: Mapping[str, Any],
) -> Callable[..., device_program.Program] | None:
  """Returns `(shape, sampler) -> Program`; None where the host is to play.

  Args:
    wanted: see `RolloutConfig.on_device`.
    settings: further arguments of `device_program.make_program`.

  Raises:
    ValueError: it is to be "always", and the task or the tokenizer cannot.
  """
  if wanted == "never":
    return None
  try:
    if not isinstance(task, protocol.OnDevice):
      raise ValueError(f"{type(task).__name__} has no form for the device")
    game = task.on_device()
    tables = language.make(game, tokenizer, policy.vocab_size)
  except ValueError as error:
    if wanted == "always":
      raise ValueError(f"rollout.on_device=always: {error}") from None
    _LOG.info("episodes are played on the host: %s", error)
    return None
  return lambda shape, sampler: device_program.make_program(
    policy, shape, game, tables, sampler=sampler, **settings
  )


def play(
  program: device_program.Program,
  params: Any,
  key: jax.Array,
  tokenizer: tokenizers.Tokenizer,
  split: str,
  *,
  prompt_ids: Sequence[int],
  indices: Sequence[int],
  version: int,
  evidence: Sequence[str] = (),
) -> played.Played:
  """Plays `G` episodes from each of `P` starts: `episodes.play` on the device.

  The arguments are those; episodes are those of the program's game. They cannot
  be continued.

  Raises:
    ValueError: a first observation has more tokens than the program was made
      for.
    RuntimeError: every episode was paid what is no finite number.
  """
  began = time.perf_counter()
  shape, game = program.shape, program.game
  ids = np.asarray(prompt_ids, np.int32)
  log = record.Record.empty(
    np.repeat(ids, shape.num_samples),
    np.tile(np.arange(shape.num_samples), shape.num_prompts),
    length=shape.length,
    turns=shape.turns,
    version=version,
    evidence=evidence,
  )
  pairs = zip(indices, ids.tolist(), strict=True)
  states = [game.begin(int(index), split, seed) for index, seed in pairs]
  tokens = np.zeros((shape.num_prompts, shape.prompt_tokens), np.int32)
  length = np.zeros(shape.num_prompts, np.int32)
  for place, (index, state) in enumerate(zip(indices, states, strict=True)):
    shown = language.text(game, state)
    found = games.prompt(tokenizer, shown, shape.prompt_tokens, index)
    tokens[place, : len(found)], length[place] = found, len(found)
  stacked = jax.tree.map(lambda *x: np.stack(x), *states)
  trace, spent = program.run(params, key, ids, tokens, length, stacked)
  _write(log, trace, tokens, length, shape.num_samples)
  _pay(log, trace, game, tokenizer)
  outcome = played.Played(
    log,
    _successes(log, trace),
    [device_turns.STOPS[reason] for reason in trace.stop.tolist()],
    trace.parse_error.sum(1).astype(np.int32),
    {"sample": spent, "environment": time.perf_counter() - began - spent},
    origin=((),) * shape.rows,
  )
  return _without_failed(outcome)


def _write(log, trace: device_turns.Trace, tokens, length, group: int) -> None:
  """Writes the tokens: prompts, then each turn of those that were alive."""
  log.tokens[:, : tokens.shape[1]] = np.repeat(tokens, group, axis=0)
  log.length[:] = np.repeat(length, group)
  names = ("tokens", "log_probs", "raw_log_probs", "length")
  for turn in range(log.reward.shape[1]):
    rows = np.flatnonzero(trace.acted[:, turn])
    if not rows.size:
      return
    _observe(log, rows, trace.said[rows, turn, 1:], trace.said_size[rows, turn])
    log.act(rows, *(trace.written[name][rows, turn] for name in names))


def _observe(log, rows, tokens, size) -> None:
  """Appends `size` of each row's tokens, which nobody chose."""
  offset = np.arange(tokens.shape[1])
  inside = offset[None] < size[:, None]
  at = log.length[rows][:, None] + offset[None]
  row = np.broadcast_to(rows[:, None], at.shape)[inside]
  log.tokens[row, at[inside]] = tokens[inside]
  log.length[rows] += size


def _pay(
  log, trace: device_turns.Trace, game: protocol.Game, tokenizer
) -> None:
  """Fills the steps: rewards, evidence, and the hashes of states and actions."""
  acted = trace.acted
  log.reward[acted] = trace.reward[acted]
  for name, column in log.columns.items():
    column[acted] = trace.evidence[..., game.evidence.index(name)][acted]
  name_of = lambda x: game.state_key(tuple(x))
  log.state[acted] = _hashed(trace.key[acted], name_of)
  log.next_state[acted] = _hashed(trace.next_key[acted], name_of)
  written = trace.written
  ends = (written["length"] - written["stopped"])[acted]
  words = np.concatenate([ends[:, None], written["tokens"][acted]], axis=1)
  # What was written, without the end of the turn; 0 where nothing was.
  inside = np.arange(words.shape[1])[None] <= ends[:, None]
  log.action[acted] = _hashed(
    np.where(inside, words, 0), lambda x: tokenizer.decode(x[1 : 1 + x[0]])
  )


def _hashed(numbers: np.ndarray, name_of) -> np.ndarray:
  """Returns `record.key` of what each row of numbers is called."""
  each, place = np.unique(numbers, axis=0, return_inverse=True)
  keys = [record.key(name_of(row)) for row in each.tolist()]
  return np.array(keys, np.int32)[place.reshape(-1)]


def _successes(log, trace: device_turns.Trace) -> np.ndarray:
  """What the last step says, or else whether it was worth anything."""
  last = np.maximum(log.turns - 1, 0)
  told = trace.success[np.arange(len(last)), last]
  earned = np.array([reward.sum() > 0 for reward in log.reward], bool)
  return np.where(told == protocol.UNSAID, earned, told > 0)


def _without_failed(one: played.Played) -> played.Played:
  failed = [row for row, x in enumerate(one.stop) if x == "environment_error"]
  if len(failed) == len(one.stop):
    raise lost.AllLost(
      f"all {len(failed)} episodes of a batch were paid what is no finite number"
    )
  for row in failed:
    one.success[row] = False
    one.record.drop(row)
  return one
