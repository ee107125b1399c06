"""`rlx sample`: read what a policy does."""

from rlx import cache
from rlx.commands import arguments

USAGE = """usage: rlx sample RUN_OR_CHECKPOINT [--num N] [--split test|train] [--greedy] ...

Plays episodes, or completes prompts, and prints them to be read: what was seen,
what the policy wrote, what it was paid.

  RUN_OR_CHECKPOINT  a run directory, RUN/checkpoints/step_N, or a Hugging Face
                     directory (then --config says on which experiment)
  --num N            how many; 3 unless given
  --first N          index of the first; 0 unless given
  --split NAME       test (held out, the default) or train
  --greedy           the likeliest tokens instead of sampled ones
  --seed N           other draws
  --config NAME      experiment by name or path, for what has none of its own
  --FIELD VALUE      any field of the experiment, as --rollout.sampling.temperature 0.7

example:
  rlx sample runs/quickstart-seed0 --num 2"""


def main(args: list[str]) -> int:
  """Returns 0 when the samples were drawn."""
  if not args or args[0] in ("-h", "--help"):
    print(USAGE)
    return 0
  path, *rest = args
  num, rest = arguments.take(rest, "--num")
  first, rest = arguments.take(rest, "--first")
  split, rest = arguments.take(rest, "--split")
  config, rest = arguments.take(rest, "--config")
  greedy, rest = arguments.take_flag(rest, "--greedy")
  split = split or "test"
  if split not in ("test", "train"):
    raise ValueError(f"--split={split}: must be test or train")
  count = arguments.integer(num, "--num", 3)
  start = arguments.integer(first, "--first", 0)
  if count < 1 or start < 0:
    raise ValueError(f"--num={count} --first={start}: need one or more, from 0")
  cache.use()
  from rlx import assemble, evaluate, sharding, trained
  from rlx.view import console, episode

  found = trained.load(path, config=config, overrides=tuple(rest))
  parts = sharding.batch_devices(found.parts.mesh)
  rows = -(-count // parts) * parts
  sampler = found.config.rollout.sampling
  collect = found.parts.collector(
    split, assemble.GREEDY if greedy else sampler, rows, 1
  )
  indices = [start + min(i, count - 1) for i in range(rows)]
  ids = [evaluate.FIRST_ID + i for i in indices]
  played = collect(found.params, ids, indices, 0)
  width = getattr(found.config.task, "size", 0)
  for row in range(count):
    episode.show(
      console.Console().rich,
      played,
      found.parts.tokenizer,
      row,
      title=f"{split} {indices[row]}",
      width=width,
    )
  return 0
