"""`rlx sft`: supervised fine-tuning on rows of your own."""

import dataclasses
import logging
import pathlib

from rlx import cache, config
from rlx.commands import arguments

USAGE = """usage: rlx sft ROWS.jsonl [--model DIR] [--workdir DIR] [--seed N] [--FIELD VALUE ...]

Learns what the assistant says. Rows have `messages`, or `prompt` and `completion`
(text or messages); only the assistant's tokens are learnt. Writes a run directory
whose hf/ is a Hugging Face directory. The same command resumes.

  ROWS.jsonl     one JSON object a line
  --model DIR    a Hugging Face directory; without it, a small decoder that reads
                 bytes is made from scratch
  --workdir DIR  where the run is kept; runs/sft unless given
  --FIELD VALUE  any field, as --optimizer.learning-rate 2e-5 --steps 500 --length 1024;
                 `rlx sft ROWS.jsonl --help` lists them all

example:
  rlx sft rows.jsonl --steps 200 --optimizer.learning-rate 1e-3"""

ALIASES = {
  "learning-rate": "optimizer.learning-rate",
  "lr": "optimizer.learning-rate",
  "max-length": "length",
  "packing": "pack",
  "max-steps": "steps",
}


def main(args: list[str]) -> int:
  """Returns 0, or 75 (try again) when a signal asked the run to stop."""
  if not args or args[0] in ("-h", "--help"):
    print(USAGE)
    return 0
  logging.basicConfig(level=logging.WARNING, format="%(message)s")
  rows, *rest = args
  workdir, rest = arguments.take(rest, "--workdir")
  model, rest = arguments.take(rest, "--model")
  quiet, rest = arguments.take_flag(rest, "--quiet")
  cache.use()
  from rlx import experiment, preemption, supervised
  from rlx.view import console

  chosen = supervised.SftConfig(rows=rows)
  if model is not None:
    source = experiment.Pretrained(path=model)
    chosen = dataclasses.replace(chosen, model=source)
  chosen = config.override(chosen, rest, ALIASES, prog="rlx sft")
  path = pathlib.Path(workdir or "runs/sft")
  try:
    supervised.run(chosen, path, console.Console(quiet=quiet))
  except preemption.Preempted as stopped:
    print(f"rlx sft: {stopped}")
    return preemption.EXIT_CODE
  return 0
