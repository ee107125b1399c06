"""PaCoRe: messages of parallel answers, then an answer that has read them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlx.rollout import (
  acting,
  buffers,
  engine,
  filters,
  plan,
  played,
  rows,
  verbs,
)


def synthesis(
  *,
  fewest: int = 16,
  most: int = 24,
  hardest: float = 0.0,
  easiest: float = 9 / 24,
  remembered: int = 24,
  prompts: int = 64,
) -> plan.Plan:
  """Samples messages, and then answers to each prompt with messages.

  In the first round every prompt is sampled as usual; what was answered are
  messages, of which the last `remembered` of each prompt are kept. In the
  second the prompt is put together with |M| of them, `fewest` <= |M| <= `most`,
  drawn by the prompt's id, and sampled; only these tokens are learnt from, and
  their reward is the task's. The batch is that of the second round.

  Prompts are left out of the loss where the share of their messages that succeed
  is not between `hardest` and `easiest`, or where all syntheses do equally well.
  Where fewer messages are remembered, or fit into a sequence, all of those are
  read. So `max_prompt_length` has to leave room for them.

  Args:
    fewest: messages that are read.
    most: messages that are read.
    hardest: messages succeed more often than this,
    easiest: and less often. 9/24 is the paper's for mathematics, 15/24 for code.
    remembered: messages that are kept of a prompt.
    prompts: for how many prompts messages are kept.

  Source: Hu et al. 2026 (PaCoRe), arXiv:2601.05593. [paper]

  Raises:
    ValueError: the numbers of messages or the shares are not in order.
  """
  if not 1 <= fewest <= most <= remembered:
    raise ValueError(
      f"fewest={fewest}, most={most}, remembered={remembered}: must be at least "
      "1, and in this order"
    )
  if not hardest < easiest:
    raise ValueError(f"hardest={hardest} is not below easiest={easiest}")

  def memory(shape: engine.Shape) -> buffers.Buffer:
    like = {
      "tokens": np.zeros(shape.action_tokens, np.int32),
      "length": np.zeros((), np.int32),
      "success": np.zeros((), bool),
    }
    return buffers.empty(prompts * remembered, like)

  def collect(do: verbs.Verbs, prompt_ids, indices, memory: buffers.Buffer):
    found = do.sample(prompt_ids, indices)
    group = do.shape.num_samples
    keys = buffers.prompt_keys(found.record)[::group]
    said = _messages(found, do.shape.action_tokens)
    memory = buffers.put(buffers.tick(memory), said, per_key=remembered)
    accuracy = np.array([_accuracy(memory, int(key)) for key in keys])
    chosen = [
      _choose(memory, int(key), int(prompt), fewest, most)
      for key, prompt in zip(keys, prompt_ids, strict=True)
    ]
    before, read = _asked(do, found, chosen)
    drawn = do.continue_from(before, acting.ends(before), group, seed=1)
    kept = filters.band(accuracy, hardest, easiest)
    kept &= filters.alive(drawn, group)
    told = {
      "synthesis/message_accuracy": float(accuracy.mean()),
      "synthesis/prompts_kept": float(kept.mean()),
      "synthesis/messages": float(np.mean(read)),
    }
    log = filters.leave(drawn.record, kept, group)
    return drawn._replace(
      record=log,
      seconds=rows.add_seconds(found.seconds, drawn.seconds),
      rewards={**drawn.rewards, **told},
    ), memory

  return plan.Plan(
    collect,
    plan.whole,
    memory=memory,
    needs=("sample", "edit", "continue_from", "filter", "buffer"),
    tasks="prompts",
  )


def compose(prompt: Any, messages: Sequence[str]) -> list[dict[str, Any]]:
  """Returns a conversation that asks a prompt and shows answers to it.

  Args:
    prompt: text, or a list of messages as chat templates have them.
  """
  asked = [{"role": "user", "content": prompt}]
  if not isinstance(prompt, str):
    asked = [dict(message) for message in prompt]
  shown = "\n".join([asked[-1]["content"], *messages])
  return [*asked[:-1], {**asked[-1], "content": shown}]


def _messages(
  found: played.Played, room: int
) -> list[tuple[int, Mapping[str, Any]]]:
  """What was answered, as entries of the memory; the prompts are the keys."""
  log = found.record
  keys = buffers.prompt_keys(log)
  entries = []
  for row in np.flatnonzero(log.turns > 0).tolist():
    own = log.tokens[row, log.mask[row]]
    entry = {
      "tokens": np.pad(own, (0, room - len(own))),
      "length": np.asarray(len(own)),
      "success": np.asarray(found.success[row]),
    }
    entries.append((int(keys[row]), entry))
  return entries


def _accuracy(memory: buffers.Buffer, key: int) -> float:
  slots = buffers.find(memory, key)
  return float(memory.items["success"][slots].mean()) if len(slots) else 0.0


def _choose(
  memory: buffers.Buffer, key: int, prompt_id: int, fewest: int, most: int
) -> list[np.ndarray]:
  """Tokens of the messages that are read, in the order they were written."""
  slots = buffers.find(memory, key)
  rng = np.random.default_rng(prompt_id)
  num = int(rng.integers(fewest, most + 1))
  chosen = np.sort(rng.permutation(len(slots))[:num])
  tokens, length = memory.items["tokens"], memory.items["length"]
  return [tokens[slot, : length[slot]] for slot in slots[chosen]]


def _asked(
  do: verbs.Verbs, found: played.Played, messages: list[list[np.ndarray]]
) -> tuple[played.Played, list[int]]:
  """The prompts with as many of their messages as there is room for."""
  first = np.arange(len(messages)) * do.shape.num_samples
  origin, prompts, read = [], [], []
  for row, chosen in zip(first, messages, strict=True):
    begun = found.origin[row]
    if not isinstance(begun, played.Start):
      raise ValueError(
        "messages are answers to prompts: this recipe needs a task of prompts "
        "and reward functions, and not one of episodes"
      )
    texts = [do.tokenizer.decode(x.tolist()) for x in chosen]
    ids, num = _fitting(do, begun.row["prompt"], texts)
    origin.append(begun._replace(length=len(ids)))
    prompts.append(ids)
    read.append(num)
  kept = [0] * len(prompts)
  return acting.stage(found, first.tolist(), kept, prompts, origin), read


def _fitting(
  do: verbs.Verbs, prompt: Any, texts: list[str]
) -> tuple[list[int], int]:
  """The tokens of a prompt with its last messages, and how many those are."""
  room = do.shape.length - do.shape.action_tokens
  for num in range(len(texts), -1, -1):
    ids = do.tokenizer.chat(compose(prompt, texts[len(texts) - num :]))
    if len(ids) <= room:
      return ids, num
  raise ValueError(f"a prompt alone has more than {room} tokens")
