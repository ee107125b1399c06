"""Single-turn completions: one prefill a prompt, one decode, then rewards."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rlx import tokenizer as tokenizers
from rlx.rollout import engine as engines
from rlx.rollout import played, record
from rlx.rollout.played import Played, Start


class Scored(NamedTuple):
  """What a task pays for completions.

  Attributes:
    rewards: float [N].
    success: bool [N].
    evidence: float [N] by name of a column of the step table.
    metrics: of single reward functions, `rewards/NAME/mean` and so on.
  """

  rewards: np.ndarray
  success: np.ndarray
  evidence: Mapping[str, np.ndarray]
  metrics: Mapping[str, float]


# (prompt rows, texts, token ids, truncated) -> Scored, a prompt row for each.
Score = Callable[..., Scored]


def complete(
  engine: engines.Engine,
  params: Any,
  key: jax.Array,
  tokenizer: tokenizers.Tokenizer,
  score: Score,
  *,
  prompt_ids: Sequence[int],
  prompts: Sequence[Sequence[int]],
  rows: Sequence[Mapping[str, Any]],
  version: int,
  evidence: Sequence[str] = (),
) -> Played:
  """Samples `G` completions of each of `P` prompts and scores them.

  A completion is a trajectory of one step, so that single-turn and multi-turn
  batches are the same values. `stop` is "stop" or "max_tokens".

  Args:
    rows: the data set's row of each prompt.
    evidence: columns that the score fills.
  """
  shape = engine.shape
  group = shape.num_samples
  log = record.Record.empty(
    np.repeat(np.asarray(prompt_ids), group),
    np.tile(np.arange(group), shape.num_prompts),
    length=shape.length,
    turns=1,
    version=version,
    evidence=evidence,
  )
  everyone = np.arange(shape.rows)
  log.observe(everyone, [prompts[row // group] for row in range(shape.rows)])
  origin = tuple(
    Start(row, len(prompt))
    for row, prompt in zip(rows, prompts, strict=True)
    for _ in range(group)
  )
  ids = np.asarray(prompt_ids, np.int32)
  budget = np.full(shape.rows, shape.action_tokens)
  limits = (budget, None, shape.rows, True)
  return _write(
    engine, params, key, tokenizer, score, log, origin, ids, *limits
  )


def start(
  shape: engines.Shape,
  *,
  prompt_ids: Sequence[int],
  prompts: Sequence[Sequence[int]],
  rows: Sequence[Mapping[str, Any]],
  version: int,
) -> Played:
  """Returns a row of each prompt, to which nobody has answered yet."""
  count = len(prompts)
  log = record.Record.empty(
    np.asarray(prompt_ids),
    np.zeros(count, np.int32),
    length=shape.length,
    turns=1,
    version=version,
  )
  log.observe(np.arange(count), prompts)
  return Played(
    record=log,
    success=np.zeros(count, bool),
    stop=["cut"] * count,
    parse_errors=np.zeros(count, np.int32),
    seconds={},
    origin=tuple(
      Start(row, len(ids)) for row, ids in zip(rows, prompts, strict=True)
    ),
  )


def go_on(
  engine: engines.Engine,
  params: Any,
  key: jax.Array,
  tokenizer: tokenizers.Tokenizer,
  score: Score,
  before: Played,
  cuts: Sequence[tuple[int, int]],
  *,
  longest: int,
  max_tokens: int | None,
  seed: int,
  version: int,
  evidence: Sequence[str] = (),
  keep: bool = True,
) -> Played:
  """Continues completions from any of their tokens.

  Args:
    engine: for prompts as long as a whole sequence, `len(cuts)` or more: what
      there is more is drawn for nobody, and neither scored nor returned.
    cuts: `(row, length)` in `before`, see `verbs.Cut`.
    longest: tokens that a whole completion may have.
    max_tokens: of one continuation; what is not finished by then, and might be,
      is not scored and has `stop` "cut".
    seed: tells draws from one place apart.
    keep: whether what was read for open rows is kept.

  Raises:
    ValueError: a cut is not behind its prompt.
  """
  shape, group = engine.shape, engine.shape.num_samples
  for row, length in cuts:
    least, most = before.origin[row].length, before.record.length[row]
    if not least <= length <= most:
      raise ValueError(
        f"cut at token {length} of row {row}: must be between {least}, where "
        f"its prompt ends, and {most}"
      )
  asked = len(cuts) * group
  cuts = [*cuts, *[cuts[0]] * (shape.num_prompts - len(cuts))]
  row = np.repeat([row for row, _ in cuts], group)
  numbers = record.branch(before.record, cuts, group, seed)
  log = record.Record.empty(
    before.record.prompt[row],
    numbers,
    length=shape.length,
    turns=1,
    version=version,
    evidence=evidence,
  )
  kept = [before.record.tokens[row, :length].tolist() for row, length in cuts]
  everyone = np.arange(shape.rows)
  log.observe(everyone, [kept[here // group] for here in everyone])
  origin = tuple(before.origin[here] for here in row)
  budget = longest - (log.length - np.array([x.length for x in origin]))
  ids = numbers[::group].copy()
  engine = engine if keep else engine._replace(keep=None)
  limits = (budget, max_tokens, asked)
  found = _write(
    engine, params, key, tokenizer, score, log, origin, ids, *limits
  )
  return played.select(found, np.arange(asked))


def _write(
  engine,
  params,
  key,
  tokenizer,
  score,
  log,
  origin,
  ids,
  budget,
  max_tokens,
  asked,
  begun=False,
) -> Played:
  """Writes on behind what the record has, and scores what is finished.

  What stands behind the first `asked` rows is neither finished nor scored.
  With `begun` these are whole completions, of which all are kept.
  """
  shape = engine.shape
  group = shape.num_samples
  everyone = np.arange(shape.rows)
  clock = time.perf_counter()
  # A whole completion has as much room as the engine was made for.
  limit = () if begun else (_limit(budget, max_tokens, asked),)
  decoded, kept = engine.first(
    params,
    key,
    engine.place(ids),
    engine.place(log.tokens[::group, : shape.prompt_tokens].copy()),
    engine.place(log.length[::group].copy()),
    *limit,
  )
  written = jax.device_get(decoded)
  sampled = time.perf_counter()
  # What would make the whole completion too long was not said.
  length = np.minimum(written.length, budget)
  stopped = written.stopped & (length == written.length)
  log.act(
    everyone, written.tokens, written.log_probs, written.raw_log_probs, length
  )
  open_ = np.zeros(shape.rows, bool)
  if max_tokens is not None:
    open_ = ~stopped & (length == max_tokens) & (length < budget)
  if engine.keep is not None:
    # Continuations that are over will hardly be continued.
    rows = everyone if begun else np.flatnonzero(open_)
    engine.keep(params, kept, log.tokens, log.length, rows)
  del decoded, kept  # Nothing of it is held while rewards are computed.
  open_[asked:] = True
  scored = _score(tokenizer, score, log, origin, stopped, open_)
  for row in everyone:
    found = {name: x[row] for name, x in scored.evidence.items()}
    text = tokenizer.decode(log.tokens[row, log.mask[row]].tolist())
    log.pay(int(row), float(scored.rewards[row]), 0, text, 1, found)
  ends = np.where(stopped, "stop", np.where(open_, "cut", "max_tokens"))
  return Played(
    record=log,
    success=scored.success,
    stop=ends.tolist(),
    parse_errors=np.zeros(shape.rows, np.int32),
    seconds={
      "sample": sampled - clock,
      "reward": time.perf_counter() - sampled,
    },
    rewards=scored.metrics,
    origin=origin,
  )


def _limit(budget, max_tokens, asked) -> np.ndarray:
  """Returns how much each row writes; what nobody asked for, nothing."""
  limit = budget if max_tokens is None else np.minimum(budget, max_tokens)
  return np.where(np.arange(len(limit)) < asked, limit, 0).astype(np.int32)


def _score(tokenizer, score, log, origin, stopped, open_) -> Scored:
  """Scores the whole completions, kept parts included; 0 for open ones."""
  rows = np.flatnonzero(~open_)
  rewards, success = np.zeros(len(open_)), np.zeros(len(open_), bool)
  evidence = {name: np.zeros(len(open_)) for name in log.columns}
  if not len(rows):
    return Scored(rewards, success, evidence, {})
  ids = [
    log.tokens[row, origin[row].length : log.length[row]].tolist()
    for row in rows
  ]
  texts = [
    tokenizer.decode(x[:-1] if done else x)
    for x, done in zip(ids, stopped[rows], strict=True)
  ]
  data = [origin[row].row for row in rows]
  found = score(data, texts, ids, ~stopped[rows])
  rewards[rows], success[rows] = found.rewards, found.success
  for name, column in evidence.items():
    if name not in found.evidence:
      known = ", ".join(sorted(found.evidence)) or "none"
      raise ValueError(
        f"the recipe reads the column {name!r} of each completion, which no "
        f"reward function fills; filled are: {known}"
      )
    column[rows] = found.evidence[name]
  return Scored(rewards, success, evidence, found.metrics)
