"""`rlx bench rollout`: sampling alone."""

import json
from typing import Any

from rlx.commands import arguments

USAGE = """usage: rlx bench rollout [--json] [--part single|tail|limit] [--repeats N]

Measures sampling without training, in this process, of the model of `rlx bench
grpo`. Ways that are compared take turns.

  single       8 prompts × 8 completions, 32 + 64 tokens, all at once
  tail         256 completions of log-normal lengths (median 48, sigma 1, at most
               512 tokens): 32 slots that are refilled, beside batches of 32 that
               end when all rows are done; the same tokens
  limit        a decoding step of 1, 32 and 256 rows: the bytes that must move
               over the memory's bandwidth, as a fraction of what it took. On an
               accelerator for models of 0.6B and 8B in bfloat16 too
  --part P     only this one
  --repeats N  calls of each way; 5 unless given
  --json       one JSON object"""


def main(args: list[str]) -> int:
  """Returns 0 when it was measured."""
  if {"-h", "--help"} & {*args}:
    print(USAGE)
    return 0
  as_json, rest = arguments.take_flag(args, "--json")
  part, rest = arguments.take(rest, "--part")
  given, rest = arguments.take(rest, "--repeats")
  arguments.refuse(rest, USAGE)
  repeats = arguments.integer(given, "--repeats", 5, least=1)
  from rlx.bench import rollout
  from rlx.view import console

  if part not in (None, *rollout.PARTS):
    raise ValueError(f"--part={part}: must be {', '.join(rollout.PARTS)}")
  parts = rollout.PARTS if part is None else (part,)
  with console.Console(quiet=as_json).phase("parts", len(parts)) as phase:
    found = rollout.run(parts, repeats=repeats, report=phase.step)
  if as_json:
    print(json.dumps(found))
    return 0
  console.Console().table(
    f"rlx bench rollout, medians of {repeats} calls, {found['cores']} cores",
    ["what", "tokens/s", "beside it"],
    [row for name in parts for row in _ROWS[name](found[name])],
  )
  return 0


def _single(found: dict[str, Any]) -> list[list[str]]:
  return [["one turn, all at once", _rate(found["sample"]), ""]]


def _tail(found: dict[str, Any]) -> list[list[str]]:
  times = lambda key: f"{found[key]['median']:.2f}×"
  return [
    ["slots, refilled", _rate(found["continuous"]), ""],
    ["  over batches", _rate(found["batches"]), times("ratio")],
    [
      "  over batches in windows",
      _rate(found["batches_windowed"]),
      times("ratio_windowed"),
    ],
  ]


def _limit(found: dict[str, Any]) -> list[list[str]]:
  def share(case):
    peak = case["of_peak"]
    more = "" if peak is None else f", {peak:.0%} of the published"
    return f"{case['of_measured']:.0%} of the bandwidth{more}"

  return [
    [
      f"decoding, {case['model']}, {case['rows']} rows",
      _rate(case),
      share(case),
    ]
    for case in found["cases"]
  ]


def _rate(found: dict[str, Any]) -> str:
  return f"{found['tokens_per_s']:,.0f}"


_ROWS = {"single": _single, "tail": _tail, "limit": _limit}
