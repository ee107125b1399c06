"""One episode as a person reads it: what was seen, done, paid and credited."""

import itertools
from typing import Any

import numpy as np
import rich.console
import rich.markup
import rich.table

from rlx import tokenizer as tokenizers
from rlx.rollout import episodes, record


def spans(log: record.Record, row: int) -> list[tuple[int, int, bool]]:
  """Returns (start, end, chosen) of the row's runs of tokens, in order.

  A run is what the policy wrote in one step, or what was said to it in between.
  """
  length = int(log.length[row])
  segment = log.segment[row, :length]
  edges = np.flatnonzero(np.diff(segment)) + 1
  bounds = [0, *edges.tolist(), length]
  return [
    (start, end, bool(segment[start] >= 0))
    for start, end in itertools.pairwise(bounds)
    if end > start
  ]


def as_json(
  played: episodes.Played,
  advantages: np.ndarray,
  tokenizer: tokenizers.Tokenizer,
  row: int,
) -> dict[str, Any]:
  """Returns a sequence as a line of the samples file.

  `spans`, `actions`, `rewards` and `advantages` have one entry a step; a span
  is `[start, end)` in tokens.
  """
  log = played.record
  credit = log.along(advantages, row)
  tokens = log.tokens[row, : log.length[row]].tolist()
  steps = [(a, b) for a, b, chosen in spans(log, row) if chosen]
  return {
    "prompt": int(log.prompt[row]),
    "sample": int(log.sample[row]),
    "trajectory": row,
    "outcome": float(log.outcome()[row]),
    "success": bool(played.success[row]),
    "stop": played.stop[row],
    "text": tokenizer.decode(tokens, skip_special_tokens=False),
    "spans": steps,
    "actions": [tokenizer.decode(tokens[a:b]) for a, b in steps],
    "rewards": log.reward[row, : len(steps)],
    "advantages": [float(credit[a:b].mean()) for a, b in steps],
    "tokens": tokens,
    "mask": log.mask[row, : log.length[row]].astype(int),
    "log_probs": log.log_probs[row, : log.length[row]],
  }


def readable(
  log: record.Record,
  advantages: np.ndarray | None,
  tokenizer: tokenizers.Tokenizer,
  row: int,
  width: int = 0,
) -> list[tuple[str, str, str, str]]:
  """Returns (observation, action, reward, credit) of each step, as text.

  Args:
    advantages: of every token, shaped as `log.rollout()`; None is 0.
    width: words in a line of an observation; 0 leaves it as one line.
  """
  out, shown, step = [], "", 0
  along = np.zeros(log.tokens.shape[1])
  if advantages is not None:
    along = log.along(advantages, row)
  for start, end, chosen in spans(log, row):
    text = tokenizer.decode(log.tokens[row, start:end].tolist())
    if not chosen:
      shown = _wrapped(text, width)
      continue
    credit = float(along[start:end].mean())
    out.append((shown, text, f"{log.reward[row, step]:+.2f}", f"{credit:+.2f}"))
    step += 1
  return out


def show(
  console: rich.console.Console,
  played: episodes.Played,
  tokenizer: tokenizers.Tokenizer,
  row: int,
  *,
  title: str,
  advantages: np.ndarray | None = None,
  width: int = 0,
) -> None:
  """Prints one sequence as a table, a line a step.

  Args:
    advantages: shaped as the rollout; without them there is no column for
      credit.
  """
  end = "success" if played.success[row] else "failure"
  console.print(
    f"{title}: {end} ({played.stop[row]}), "
    f"reward {played.record.outcome()[row]:+.2f}"
  )
  table = rich.table.Table(show_lines=True)
  columns = 3 if advantages is None else 4
  for name in ("seen", "done", "reward", "credit")[:columns]:
    side = "left" if name in ("seen", "done") else "right"
    table.add_column(name, justify=side)
  lines = readable(played.record, advantages, tokenizer, row, width)
  for line in lines:
    table.add_row(*(rich.markup.escape(x) for x in line[:columns]))
  console.print(table)


def _wrapped(text: str, width: int) -> str:
  words = text.split()
  if not width:
    return text
  lines = [words[i : i + width] for i in range(0, len(words), width)]
  return "\n".join(" ".join(line) for line in lines)
