"""The `rlx` command."""

import gc
import importlib
import os
import sys
from typing import NamedTuple

from rlx import devices
from rlx.rollout import lost


class Command(NamedTuple):
  """A sub-command: `module.main(arguments) -> exit code`, and its one line."""

  module: str
  line: str


COMMANDS = {
  "train": Command("train", "run an experiment, or resume it"),
  "sft": Command("sft", "supervised fine-tuning on your rows"),
  "eval": Command("eval", "measure a run, a checkpoint or a model directory"),
  "sample": Command("sample", "read what a run's policy does"),
  "export": Command("export", "write a run as a Hugging Face directory"),
  "recipes": Command("recipes", "list the methods, or explain one"),
  "envs": Command("envs", "list the environments, or show an episode"),
  "play": Command("play", "play an episode yourself"),
  "credit": Command("credit", "how right each method's credit is"),
  "bench": Command("bench", "measure the speed of this machine"),
}

_HELP = """rlx: reinforcement fine-tuning of language models, with credit per step

usage: rlx COMMAND ...

{commands}

start here:
  rlx train quickstart              learn to cross a frozen lake, in minutes
  rlx train quickstart --help       every field of an experiment
  rlx train quickstart --seed 1 --workdir runs/second --optimizer.learning-rate 3e-4
  rlx envs                          environments to train on; NAME shows an episode
  rlx play frozen-lake              cross it yourself
  rlx recipes gigpo                 what a method does, and where it is from

rlx COMMAND --help says more."""


def main() -> None:
  """Runs the command line and exits; errors of the user's are one message."""
  sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
  """Returns the exit code: 0, 1 for what went wrong, 2 for a bad command."""
  if not arguments or arguments[0] in ("-h", "--help", "help"):
    lines = "\n".join(f"  {n:9} {c.line}" for n, c in COMMANDS.items())
    print(_HELP.format(commands=lines))
    return 0
  if arguments[0] in ("-V", "--version"):
    import rlx

    print(f"rlx {rlx.__version__}")
    return 0
  name, *rest = arguments
  if name not in COMMANDS:
    from rlx import spec

    print(
      f"rlx: no command {name!r}; {spec.nearest_text(name, COMMANDS)}; "
      f"there are {', '.join(COMMANDS)}",
      file=sys.stderr,
    )
    return 2
  quiet_logs()
  devices.prepare()
  collect_seldom()
  # Each command is imported when asked for, so that `rlx --help` is instant.
  module = importlib.import_module(f"rlx.commands.{COMMANDS[name].module}")
  try:
    return module.main(rest)
  except BrokenPipeError:
    # Whoever read the output has seen enough, as `head` does.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
  except (ValueError, OSError, FloatingPointError, lost.AllLost) as error:
    if os.environ.get("RLX_TRACEBACK"):
      raise
    print(f"rlx {name}: {error}", file=sys.stderr)
    return 2 if isinstance(error, ValueError) else 1
  except KeyboardInterrupt:
    print(f"rlx {name}: interrupted", file=sys.stderr)
    return 130


def quiet_logs() -> None:
  """Keeps what libraries say about themselves off the terminal."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
  os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")


def collect_seldom() -> None:
  """Looks for garbage less often: tracing programs makes much that stays.

  Python would spend a tenth of the start on it.
  """
  gc.set_threshold(10_000, 20, 50)


if __name__ == "__main__":
  main()
