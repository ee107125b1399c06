"""A tensorflow-datasets builder of GSM8K from local JSON-lines files.

Needs no network and no TensorFlow. This module imports tensorflow-datasets at
its top, so `rlx.data.gsm8k` imports it only when a data set is prepared.
"""

import pathlib

import tensorflow_datasets as tfds

from rlx.data import rows, sources


class Gsm8k(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Every `*.jsonl` file of a directory is a split, its rows in order."""

  VERSION = tfds.core.Version("1.0.0")
  # Said here because finding it out needs importlib_resources, which
  # tensorflow-datasets uses without installing it.
  pkg_dir_path = tfds.core.Path(__file__).parent
  code_path = tfds.core.Path(__file__)

  def __init__(self, *, source: pathlib.Path, data_dir: str):
    self._source = source
    super().__init__(data_dir=data_dir, file_format="array_record")

  def _info(self) -> tfds.core.DatasetInfo:
    text = tfds.features.Text()
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict({"question": text, "answer": text}),
      disable_shuffling=True,  # Order is grain's affair.
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # Nothing is downloaded.
    return {
      path.stem: self._generate_examples(path)
      for path in sorted(self._source.glob("*.jsonl"))
    }

  def _generate_examples(self, path: pathlib.Path):
    source = sources.JsonLines(path)
    for i in range(len(source)):
      row = source[i]
      rows.require(row, ("question", "answer"), i)
      yield i, {name: row[name] for name in ("question", "answer")}
