"""RAPO: a group in which all fail gets back a success it once had."""

import dataclasses

import numpy as np

from rlx.rollout import buffers, edits, engine, plan, played, record, verbs

# What is remembered of a row.
_LINE = (*edits.TOKENS, "segment", *edits.TURNS)


def replay(
  *,
  success_above: float = 0.5,
  capacity: int = 256,
  evidence: tuple[str, ...] = (),
) -> plan.Plan:
  """Samples, remembers successes, and replays one where a whole group failed.

  Of each prompt the latest trajectory with an outcome above `success_above` is
  kept. Where all samples of a group are at or below it, one of them, chosen by
  the prompt's id, is overwritten with what is remembered. It keeps its
  log-probabilities and the version that wrote it: it is off-policy, so that a
  trainer should compute old log-probabilities of its own.

  Args:
    success_above: an outcome above it is a success.
    capacity: prompts that are remembered; the one that succeeded longest ago
      leaves first.
    evidence: columns that the task fills for the recipe.

  Source: RAPO (Fathom-DeepResearch), arXiv:2509.24107. [paper]
  """

  def memory(shape: engine.Shape) -> buffers.Buffer:
    size = plan.whole(shape)
    log = record.Record.empty(
      *(np.zeros(1, np.int32), np.zeros(1, np.int32)),
      length=size.length,
      turns=size.turns,
      version=0,
      evidence=evidence,
    )
    return buffers.empty(capacity, _entry(log, 0))

  def collect(do: verbs.Verbs, prompt_ids, indices, memory: buffers.Buffer):
    found = do.sample(prompt_ids, indices)
    group = do.shape.num_samples
    keys = buffers.prompt_keys(found.record)
    outcome = found.record.outcome()
    won = (outcome > success_above) & (found.record.turns > 0)
    lost = np.flatnonzero(~won.reshape(-1, group).any(1))
    target = [int(p) * group + _chosen(prompt_ids[p], group) for p in lost]
    fits = [
      (row, slot)
      for row in target
      if (slot := _remembered(memory, found.record, keys, row, group)) >= 0
    ]
    before = float(outcome[found.record.turns > 0].mean())
    entries = [
      (int(keys[row]), _entry(found.record, row))
      for row in np.flatnonzero(won).tolist()
    ]
    out = _overwrite(found, memory, fits)
    told = {
      "reward_before_replay": before,
      "replay/groups": len(fits) * group / len(outcome),
    }
    after = buffers.put(buffers.tick(memory), entries, per_key=1)
    return out._replace(rewards={**found.rewards, **told}), after

  return plan.Plan(
    collect,
    plan.whole,
    memory=memory,
    needs=("sample", "buffer", "edit"),
  )


def _chosen(prompt_id: int, group: int) -> int:
  return int(np.random.default_rng(int(prompt_id)).integers(group))


def _remembered(memory, log, keys, row, group) -> int:
  """The slot of a success of the row's prompt; -1 for none."""
  members = keys[row - row % group : row - row % group + group]
  known = members[members >= 0]
  if not len(known):
    return -1
  slots = buffers.find(memory, int(known[0]))
  if not len(slots):
    return -1
  # Keys are hashes: what they stand for is compared as well.
  shown = row - row % group + int(np.argmax(members >= 0))
  length = int(edits.starts(log, shown)[0])
  kept = memory.items["tokens"][slots[-1], :length]
  same = np.array_equal(kept, log.tokens[shown, :length])
  return int(slots[-1]) if same else -1


def _entry(log: record.Record, row: int) -> dict[str, np.ndarray]:
  """A row as it is remembered, its steps counted from 0."""
  width = log.reward.shape[1]
  entry = {name: getattr(log, name)[row] for name in _LINE}
  inside = entry["segment"] >= 0
  entry["segment"] = np.where(inside, entry["segment"] % width, -1).astype(
    np.int32
  )
  version = np.broadcast_to(np.asarray(log.version), (len(log.tokens), 1))
  entry |= {"length": log.length[row], "turns": log.turns[row]}
  entry["version"] = version[row, 0].astype(np.int32)
  return entry | {f"column/{name}": x[row] for name, x in log.columns.items()}


def _overwrite(found, memory, places) -> played.Played:
  """Returns a copy with `(row, slot)` taken from what is remembered."""
  if not places:
    return found
  log = edits.copy(found.record)
  width = log.reward.shape[1]
  version = np.broadcast_to(np.asarray(log.version), (len(log.tokens), 1))
  version = version.astype(np.int32)
  success, stop = found.success.copy(), list(found.stop)
  errors = found.parse_errors.copy()
  for row, slot in places:
    entry = buffers.get(memory, slot)
    for name in (*_LINE, "length", "turns"):
      getattr(log, name)[row] = entry[name]
    inside = entry["segment"] >= 0
    log.segment[row] = np.where(inside, entry["segment"] + row * width, -1)
    for name, column in log.columns.items():
      column[row] = entry[f"column/{name}"]
    version[row] = entry["version"]
    success[row], stop[row], errors[row] = True, "completed", 0
  return found._replace(
    record=dataclasses.replace(log, version=version),
    success=success,
    stop=stop,
    parse_errors=errors,
  )
