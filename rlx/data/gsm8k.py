"""GSM8K: grade-school arithmetic word problems with worked solutions.

Source: Cobbe et al. 2021, arXiv:2110.14168.
"""

import contextlib
import functools
import hashlib
import io
import os
import pathlib
import re
import tempfile
from typing import Any, cast

from rlx.data import rows


def gsm8k(
  directory: str | pathlib.Path,
  split: str = "train",
  *,
  system: str = "",
  instruction: str = "",
  cache_dir: str | pathlib.Path | None = None,
) -> rows.Source:
  """GSM8K's rows, read through `tfds.data_source`, as `from_gsm8k` has them.

  A directory of `train.jsonl` and `test.jsonl` is prepared once, offline and
  without TensorFlow, into ArrayRecord files under `cache_dir`, by a name that
  changes with the files' contents. A directory that `tfds` has prepared (it
  holds `gsm8k/<version>/dataset_info.json`) is read as it is.

  Args:
    directory: either kind.
    split: "train" or "test".
    system: a system message; none if empty.
    instruction: appended to each question on a line of its own.
    cache_dir: `$XDG_CACHE_HOME/rlx`, or `~/.cache/rlx`, if None.

  Raises:
    ValueError: the directory is of neither kind, or has no such split.
  """
  # Imported here: with what it needs, tensorflow-datasets is slow to import.
  import tensorflow_datasets as tfds

  directory = pathlib.Path(directory)
  if not any(directory.glob("gsm8k/*/dataset_info.json")):
    directory = _prepare(directory, cache_dir)
  splits = tfds.builder("gsm8k", data_dir=str(directory)).info.splits
  if split not in splits:
    raise ValueError(f"GSM8K has no split {split!r}; it has {sorted(splits)}")
  source = tfds.data_source("gsm8k", split=split, data_dir=str(directory))
  row = functools.partial(from_gsm8k, system=system, instruction=instruction)
  return rows.map_rows(row, cast(rows.Source, source))


def from_gsm8k(
  row: rows.Row, *, system: str = "", instruction: str = ""
) -> dict[str, Any]:
  """A row of rlx from one of GSM8K.

  Returns:
    `prompt`: messages. `completion`: one message, the worked solution without
    its calculator annotations `<<48/2=24>>`. `answer`: what follows `####`.
    `solution`: GSM8K's own `answer` column, unchanged.
  """
  question, solution = _text(row["question"]), _text(row["answer"])
  worked = re.sub(r"<<[^<>\n]*>>", "", solution)
  user = f"{question}\n{instruction}" if instruction else question
  messages = [{"role": "system", "content": system}] * bool(system)
  return {
    "prompt": [*messages, {"role": "user", "content": user}],
    "completion": [{"role": "assistant", "content": worked}],
    "answer": _text(row.get("short_answer", solution.rpartition("####")[2])),
    "solution": solution,
  }


def _text(value: str | bytes) -> str:
  text = value.decode() if isinstance(value, bytes) else value
  return text.strip()


def _prepare(
  source: pathlib.Path, cache_dir: str | pathlib.Path | None
) -> pathlib.Path:
  """The directory of prepared files; makes it if it is not there yet."""
  files = sorted(source.glob("*.jsonl"))
  if not files:
    found = sorted(p.name for p in source.iterdir()) if source.is_dir() else []
    raise ValueError(
      f"{source} holds neither train.jsonl and test.jsonl nor a prepared"
      f" gsm8k/<version>/dataset_info.json; files found: {found}."
      " Download the two .jsonl files of openai/grade-school-math into a"
      " directory, and name it with --task.data.directory"
    )
  root = pathlib.Path(cache_dir or _default_cache())
  digest = hashlib.sha256()
  for file in files:
    digest.update(f"{file.name} {file.stat().st_size} ".encode())
    digest.update(file.read_bytes())
  target = root / f"gsm8k-{digest.hexdigest()[:16]}"
  if not target.is_dir():
    _build(source, target)
  return target


def _build(source: pathlib.Path, target: pathlib.Path) -> None:
  """Prepares beside `target`, then renames: never seen half-made."""
  import tensorflow_datasets as tfds

  from rlx.data import gsm8k_builder

  target.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(
    dir=target.parent, ignore_cleanup_errors=True
  ) as scratch:
    made = pathlib.Path(scratch) / "made"
    builder = gsm8k_builder.Gsm8k(source=source, data_dir=str(made))
    # It would announce a download, and a place that is gone when this returns.
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
      builder.download_and_prepare()
    try:
      made.rename(target)
    except OSError:
      # Another process was first; its files are the same.
      if not target.is_dir():
        raise


def _default_cache() -> pathlib.Path:
  base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(base).expanduser() / "rlx"
