"""`rlx bench tree`: what keeping what was read saves."""

import json
from typing import Any

from rlx.commands import arguments

USAGE = """usage: rlx bench tree [--json] [--repeats N]

A model of 4 million parameters made from scratch, in this process, all ways in
turns, after one call of each that compiles.

  values       8 continuations of 32 tokens at each of 8 boundaries of a
               trajectory of 512 tokens: with what was read kept; with each prefix
               read again for each continuation; and once for all of its eight.
               What reads again has prefixes padded to 512 tokens
  tree         4, 4 and 4 children of 32 tokens, from a prompt of 512, and as
               many independent samples as the tree has leaves
  kv           tokens whose keys and values are on the device for `values`: the
               whole `pool`, sized for one sequence; `trunk`, the copy of the
               prefix that attention reads; `tails`, what rows write. `ratio` is
               their `total` by `distinct`, what differs; `page_ratio` is without
               the copy and unused pages
  --repeats N  calls each way; 5 unless given
  --json       one JSON object: seconds and CPU-seconds, `times` as long as the
               first way takes, kv, versions, the workload

Compare on an otherwise idle machine; else compare CPU-seconds.

example:
  rlx bench tree --json > tree.json"""


def main(args: list[str]) -> int:
  """Returns 0 when it was measured."""
  if {"-h", "--help"} & {*args}:
    print(USAGE)
    return 0
  as_json, rest = arguments.take_flag(args, "--json")
  given, rest = arguments.take(rest, "--repeats")
  arguments.refuse(rest, USAGE)
  repeats = arguments.integer(given, "--repeats", 5, least=1)
  from rlx.bench import tree
  from rlx.view import console

  with console.Console(quiet=as_json).phase("rounds", repeats) as phase:
    found = tree.run(repeats=repeats, report=phase.step)
  if as_json:
    print(json.dumps(found))
    return 0
  show(found)
  return 0


def show(found: dict[str, Any]) -> None:
  """Prints what was measured as a table."""
  from rlx.view import console

  rows = [
    [
      f"{kind}, {name}",
      f"{x['median_s']:.2f} s",
      f"{x['cpu_s']:.2f} s",
      f"{x['times']:.1f}×" if "times" in x else "",
    ]
    for kind in ("values", "tree")
    for name, x in found[kind].items()
  ]
  kv = found["kv"]
  for name, held, ratio in (
    ("all", kv["total"], kv["ratio"]),
    ("pages", round(kv["page_ratio"] * kv["distinct"]), kv["page_ratio"]),
  ):
    rows.append(
      [
        f"keys and values, {name}",
        f"{held:,} tokens",
        "",
        f"{ratio:.2f} × distinct",
      ]
    )
  console.Console().table(
    f"rlx bench tree, median of {found['repeats']} calls, "
    f"{found['cores']} cores",
    ["what", "measured", "CPU", "times"],
    rows,
  )
