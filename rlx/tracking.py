"""A wandb run for a run directory, without secrets. wandb is an extra."""

import importlib
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

# Whole words only, so that `max_tokens` and `tokenizer` pass.
_SECRET = re.compile(
  r"(^|_)(password|passwd|secret|credentials?|api_key|private_key|"
  r"(access|auth|bearer|hf|api)_token)s?(_|$)"
)


def without_secrets(tree: Any) -> Any:
  """A copy of a JSON tree; what is named like a password or key is masked."""
  if isinstance(tree, Mapping):
    return {
      k: "***" if _SECRET.search(str(k).lower()) else without_secrets(v)
      for k, v in tree.items()
    }
  return [without_secrets(x) for x in tree] if isinstance(tree, list) else tree


def start(
  project: str, directory: pathlib.Path, config: Mapping[str, Any]
) -> Any:
  """Starts the wandb run of a run directory, or continues it after a resume."""
  try:
    wandb = importlib.import_module("wandb")  # An extra.
  except ImportError as e:
    raise ValueError(
      f"wandb {project!r}: not installed; pip install 'rlx[wandb]'"
    ) from e
  id_file = directory / "wandb_id"
  if not id_file.exists():
    id_file.write_text(os.urandom(8).hex())
  run = wandb.init(
    project=project,
    name=directory.resolve().name,
    id=id_file.read_text().strip(),
    resume="allow",
    dir=str(directory),
    config=without_secrets(dict(config)),
    # No source, diff, environment or command line: secrets hide in them.
    settings=wandb.Settings(
      disable_code=True, disable_git=True, x_disable_meta=True
    ),
  )
  run.define_metric("*", step_metric="step")
  return run
