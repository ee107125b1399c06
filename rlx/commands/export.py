"""`rlx export`: write a run as a Hugging Face directory."""

import pathlib

from rlx import cache
from rlx.commands import arguments

USAGE = """usage: rlx export RUN_OR_CHECKPOINT OUT_DIR [--dtype float32|bfloat16|float16] [--config NAME]

Writes sharded safetensors, config.json, generation_config.json, the tokenizer and
a model card, which transformers and rlx (as a Pretrained model) load.

  RUN_OR_CHECKPOINT  a run directory, or RUN/checkpoints/step_N
  OUT_DIR            must not exist, or be empty
  --dtype            of the tensors on disk; float32 unless given

example:
  rlx export runs/quickstart-seed0 exported"""


def main(args: list[str]) -> int:
  """Returns 0 when the directory was written."""
  if len(args) < 2 or "--help" in args or "-h" in args:
    print(USAGE)
    return 0 if "--help" in args or "-h" in args else 2
  path, out, *rest = args
  dtype, rest = arguments.take(rest, "--dtype")
  config, rest = arguments.take(rest, "--config")
  arguments.refuse(rest, USAGE)
  cache.use()
  from rlx import exported, trained

  target = pathlib.Path(out)
  if target.exists() and (not target.is_dir() or any(target.iterdir())):
    raise ValueError(
      f"{out}: exists and is not empty; choose another directory"
    )
  found = trained.load(path, config=config)
  exported.write(found, target, dtype=dtype or "float32")
  print(f"{path}, step {found.step} -> {out}")
  return 0
