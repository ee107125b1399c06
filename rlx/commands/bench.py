"""`rlx bench`: measure the speed of this machine."""

import json
import statistics
from typing import Any

from rlx.commands import arguments
from rlx.commands import bench_pages as pages

NAMES = ("grpo", "agent", "train", "rollout", "device", "tree", "credit")


def main(args: list[str]) -> int:
  """Returns 0 when it was measured."""
  if args[:1] == ["rollout"]:
    from rlx.commands import bench_rollout

    return bench_rollout.main(args[1:])
  if args[:1] == ["tree"]:
    from rlx.commands import bench_tree

    return bench_tree.main(args[1:])
  if not args or {"-h", "--help"} & {*args}:
    print(pages.PAGES.get(args[0], pages.USAGE) if args else pages.USAGE)
    return 0
  name, *rest = args
  if name not in NAMES:
    raise ValueError(f"no workload {name!r}; there are {', '.join(NAMES)}")
  as_json, rest = arguments.take_flag(rest, "--json")
  if name == "credit":
    return _credit(as_json, rest)
  if name == "train":
    return _train(as_json, rest)
  if name == "device":
    return _device(as_json, rest)
  child, rest = arguments.take_flag(rest, "--child")
  given, rest = arguments.take(rest, "--steps")
  arguments.refuse(rest, pages.PAGES[name])
  steps = arguments.integer(given, "--steps", 12, least=1)
  if child:
    # This process is the one that is measured.
    from rlx import cache
    from rlx.bench import run, workloads

    cache.use()
    print(json.dumps(run.run(workloads.ALL[name], steps)))
    return 0
  from rlx.bench import children

  found = children.measure(name, steps)
  if as_json:
    print(json.dumps(found))
    return 0
  show(found)
  return 0


def _train(as_json: bool, rest: list[str]) -> int:
  given, rest = arguments.take(rest, "--steps")
  length, rest = arguments.take(rest, "--length")
  arguments.refuse(rest, pages.PAGES["train"])
  steps = arguments.integer(given, "--steps", 7, least=1)
  if length is not None:
    return _train_long(as_json, arguments.integer(length, "--length", 0), steps)
  from rlx.bench import train
  from rlx.view import console

  found = train.run(train.Workload(repeats=steps))
  if as_json:
    print(json.dumps(found))
    return 0
  seconds = lambda kind: f"{found[f'{kind}_s_min']:.3f} s"
  tokens = lambda kind: f"{found[f'{kind}_tokens']:,}"
  console.Console().table(
    f"rlx bench train, fastest of {steps} updates, {found['cores']} cores",
    ["prompt computed", "update", "tokens"],
    [
      ["once a group", seconds("shared"), tokens("shared")],
      ["once a completion", seconds("unshared"), tokens("unshared")],
      ["ratio", f"{found['ratio_min']:.2f}×", ""],
      ["gradients apart by", f"{found['gradient_gap']:.1e}", ""],
    ],
  )
  return 0


def _train_long(as_json: bool, length: int, steps: int) -> int:
  if length < 32:
    raise ValueError(f"--length={length}: must be 32 or more")
  from rlx.bench import train_flops
  from rlx.view import console

  found = train_flops.run(train_flops.workload(length, steps))
  if as_json:
    print(json.dumps(found))
    return 0
  tera = lambda key: f"{found[key] / 1e12:,.3f} TFLOP/s"
  known = found["flops_peak"] is not None
  console.Console().table(
    f"rlx bench train --length {length}, {steps} updates, "
    f"{found['cores']} cores",
    ["what", "measured"],
    [
      ["update, median", f"{statistics.median(found['update_s']):.2f} s"],
      ["tokens", f"{found['tokens_per_s']:,.0f} tokens/s"],
      ["model", tera("flops_per_s")],
      ["product of matrices", tera("flops_measured")],
      *([["published peak", tera("flops_peak")]] if known else []),
      ["model FLOPs utilisation", f"{found['mfu']:.1%}"],
    ],
  )
  return 0


def _device(as_json: bool, rest: list[str]) -> int:
  given, rest = arguments.take(rest, "--repeats")
  arguments.refuse(rest, pages.PAGES["device"])
  repeats = arguments.integer(given, "--repeats", 7, least=1)
  from rlx.bench import device
  from rlx.view import console

  total = len(device.MODELS) * len(device.GROUPS) + 1
  with console.Console(quiet=as_json).phase("batches", total) as phase:
    found = device.run(repeats=repeats, report=phase.step)
  if as_json:
    print(json.dumps(found))
    return 0
  least = lambda x: f"{1e3 * min(x):,.1f}"
  rows = [
    [
      f"{x['model']}, {x['rows']} rows",
      *(least(x[key]) for key in ("host_s", "device_s")),
      f"{x['ratio']:.1f}×",
      f"{x['cpu_ratio']:.1f}×",
    ]
    for x in [*found["batches"], {"model": "alone", **found["environment"]}]
  ]
  console.Console().table(
    f"rlx bench device, fastest of {repeats} batches in ms, "
    f"{found['cores']} cores",
    ["policy", "host", "device", "ratio of medians", "of CPU time"],
    rows,
  )
  return 0


def _credit(as_json: bool, rest: list[str]) -> int:
  recipe, rest = arguments.take(rest, "--recipe")
  arguments.refuse(rest, pages.PAGES["credit"])
  from rlx import recipes
  from rlx.bench import credit
  from rlx.commands import arguments_recipe
  from rlx.view import console

  methods = recipes.ALL
  if recipe is not None:
    methods = (arguments_recipe.method(recipe),)
  with console.Console(quiet=as_json).phase("recipes", len(methods)) as phase:
    found = credit.run(methods=methods, report=phase.step)
  if as_json:
    print(json.dumps(found))
    return 0
  number = lambda x: f"{x:,.2f}"
  rows = []
  for x in found["recipes"]:
    plain = ["", ""]
    if "plain_ms" in x:
      plain = [number(x["plain_ms"][-1]), f"{x['ratio'][-1]:,.0f}×"]
    rows.append([x["name"], *map(number, x["median_ms"]), *plain])
  console.Console().table(
    f"rlx bench credit, median of {found['repeats']} calls in ms, "
    f"{found['cores']} cores",
    ["recipe", *(f"{n:,} rows" for n in found["rows"]), "plain", "ratio"],
    rows,
  )
  return 0


def show(found: dict[str, Any]) -> None:
  """Prints what was measured as a table."""
  # Imported here: `--json` prints nothing else.
  from rlx.view import console

  seconds = lambda x: f"{x:.2f} s"
  rate = lambda x: f"{x:,.0f} tokens/s"
  console.Console().table(
    f"rlx bench {found['bench']}, {len(found['step_s'])} steps, "
    f"{found['cores']} cores",
    ["what", "measured"],
    [
      ["step, fastest", seconds(found["step_s_min"])],
      ["step, median", seconds(found["step_s_median"])],
      ["  of it sampling", seconds(found["sample_s_median"])],
      ["  of it training", seconds(found["train_s_median"])],
      ["CPU of a step, median", seconds(found["cpu_s_per_step_median"])],
      ["sampling, new tokens", rate(found["sample_tokens_per_s"])],
      ["training, all tokens", rate(found["train_tokens_per_s"])],
      ["end to end, new tokens", rate(found["new_tokens_per_s"])],
      ["first step done, cold", seconds(found["start_to_first_step_s_cold"])],
      ["first step done, warm", seconds(found["start_to_first_step_s_warm"])],
      ["peak memory", f"{found['peak_rss_mib']:,.0f} MiB"],
    ],
  )
