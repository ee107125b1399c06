"""Rows in, token batches out.

A *row* is a mapping with the column names that TRL made common: `prompt` (text
or a list of messages), `prompt` and `completion`, or `messages`. Every other
column passes through untouched and reaches the reward functions by its name.

A *source* is anything with `len` and integer indexing that gives rows: a list,
`JsonLines`, `rlx.data.gsm8k.gsm8k`, `tfds.data_source`, a grain data source.
Nothing large is read into memory, and a batch is found from an integer cursor.
"""

from rlx.data.gsm8k import from_gsm8k
from rlx.data.prompts import (
  PromptBatch,
  Prompts,
  batches,
  ordered,
  prompt_tokens,
  tokenise,
)
from rlx.data.rows import Row, Source, from_verl, map_rows, require
from rlx.data.sft import SFTBatch, render, sft_batches, sft_rows
from rlx.data.sources import JsonLines

__all__ = [
  "JsonLines",
  "PromptBatch",
  "Prompts",
  "Row",
  "SFTBatch",
  "Source",
  "batches",
  "from_gsm8k",
  "from_verl",
  "map_rows",
  "ordered",
  "prompt_tokens",
  "render",
  "require",
  "sft_batches",
  "sft_rows",
  "tokenise",
]
