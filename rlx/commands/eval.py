"""`rlx eval`: measure a run, a checkpoint or a Hugging Face directory."""

import json

from rlx import cache
from rlx.commands import arguments

USAGE = """usage: rlx eval RUN_OR_CHECKPOINT [--samples N] [--num N] [--config NAME] [--json]

Plays what is held out with the sampling settings of the experiment, and greedily,
and prints success rates with 95 % intervals.

  RUN_OR_CHECKPOINT  a run directory, RUN/checkpoints/step_N, or a Hugging Face
                     directory (then --config says on which experiment)
  --samples N        episodes or completions of each held-out prompt; 1 unless given
  --num N            held-out prompts; as in the experiment unless given
  --config NAME      experiment by name or path
  --json             print one JSON object
  --FIELD VALUE      any field of the experiment, as --rollout.sampling.temperature 0.7

example:
  rlx eval runs/quickstart-seed0 --samples 4"""


def main(args: list[str]) -> int:
  """Returns 0 when the measurement was made."""
  if not args or args[0] in ("-h", "--help"):
    print(USAGE)
    return 0
  path, *rest = args
  samples, rest = arguments.take(rest, "--samples")
  num, rest = arguments.take(rest, "--num")
  config, rest = arguments.take(rest, "--config")
  as_json, rest = arguments.take_flag(rest, "--json")
  if samples is not None:
    rest += ["--eval.samples", samples]
  if num is not None:
    rest += ["--eval.num", num]
  cache.use()
  from rlx import evaluate, trained
  from rlx.view import console

  found = trained.load(path, config=config, overrides=tuple(rest))
  evaluator = evaluate.Evaluator(found.config, found.parts)
  results = {"sampled": evaluator(found.params)}
  if found.config.eval.greedy:
    results["greedy"] = evaluator(found.params, greedy=True)
  if as_json:
    both = {name: result._asdict() for name, result in results.items()}
    print(json.dumps({"path": path, "step": found.step, **both}))
    return 0
  console.Console().table(
    f"{path}" + (f", step {found.step}" if found.step is not None else ""),
    ["actions", "success (95 % interval)", "reward", "n"],
    [
      [
        name,
        f"{x.success:.3f} ({x.low:.3f}–{x.high:.3f})",
        f"{x.reward:.3f}",
        str(x.n),
      ]
      for name, x in results.items()
    ],
  )
  return 0
