"""The made-up text of the workloads: tokens, prompts, rewards, an environment."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from rlx import policy, prompts
from rlx.bench import workloads
from rlx.config import spec
from rlx.data import prompts as data_prompts
from rlx.rollout import completions, engine, episodes, pool, sampling

_LETTERS = 8  # Of what an episode begins with.


class Bytes:
  """Ids 3 to 258 are bytes; all other ids decode to "~".

  A conversation is BOS, "<s>|", "<u>", content, "|", "<a>"; an assistant's turn
  is closed by "|". No stop token can be drawn: see `make_collect`.
  """

  vocab_size = 259
  pad_id = 0
  bos_ids = (1,)
  stop_ids = (3 + ord("|"),)

  def encode(self, text: str) -> list[int]:
    return [3 + byte for byte in text.encode("latin-1")]

  def decode(
    self, ids: Sequence[int], *, skip_special_tokens: bool = True
  ) -> str:
    del skip_special_tokens
    return "".join(chr(i - 3) if 3 <= i < 259 else "~" for i in ids)

  def chat(self, messages, add_generation_prompt: bool = True) -> list[int]:
    text = "".join(f"<u>{message['content']}|" for message in messages)
    answer = "<a>" * add_generation_prompt
    return [*self.bos_ids, *self.encode(f"<s>|{text}{answer}")]

  def turn(self, observation: str) -> list[int]:
    return self.encode(f"<u>{observation}|<a>")

  def save(self, directory) -> None:
    raise NotImplementedError("this tokenizer is for measuring only")


def lower_case(completions: Sequence[str], **columns: Any) -> list[float]:
  """The share of lower-case letters in each completion."""
  del columns
  return [
    sum("a" <= c <= "z" for c in text) / max(len(text), 1)
    for text in completions
  ]


class Letters:
  """Rows without end: prompt `i` is `length` letters drawn from `i`."""

  def __init__(self, length: int, rows: int = 1_000_000):
    self._length, self._rows = length, rows

  def __len__(self) -> int:
    return self._rows

  def __getitem__(self, index: int) -> dict[str, str]:
    return {"prompt": letters(index, self._length)}


def letters(seed: int, length: int) -> str:
  """`length` lower-case letters, the same for the same seed."""
  drawn = np.random.default_rng(seed).integers(97, 123, length)
  return bytes(drawn.tolist()).decode()


class Talk:
  """An episode that pays each turn's share of lower-case letters."""

  def __init__(self, turns: int, index: int):
    self._left, self._index = turns, index

  def reset(self, seed: int) -> tuple[str, dict[str, Any]]:
    del seed  # Members of a group begin alike.
    return letters(self._index, _LETTERS), {}

  def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
    self._left -= 1
    return "go on", lower_case([action])[0], self._left == 0, False, {}


def source(*, length: int = 31) -> dict[str, Any]:
  """Both splits of the prompts, as a task wants them."""
  return {"train": Letters(length), "test": Letters(length)}


def make_collect(
  workload: workloads.Workload, model: policy.Policy, mesh: Mesh
) -> tuple[engine.Engine, Callable[..., episodes.Played]]:
  """Returns the rollout's programs, and `(params, prompt ids, indices, version)
  -> Played`."""
  shape = engine.Shape(
    num_prompts=workload.num_prompts,
    num_samples=workload.group_size,
    prompt_tokens=workload.prompt_tokens,
    turn_tokens=workload.turn_tokens,
    action_tokens=workload.new_tokens,
    turns=workload.turns,
  )
  compiled = engine.make_engine(
    model,
    shape,
    sampler=sampling.Sampling(temperature=workload.temperature),
    stop_ids=(),  # So that every turn has its full length.
    mesh=mesh,
  )
  play = _converse if workload.turns > 1 else _complete
  collect = play(workload, compiled, jax.random.key(0), Bytes())
  return compiled, collect


def _complete(workload, compiled, key, tokenizer):
  length = workload.prompt_tokens - 1  # BOS is one more.
  task = prompts.PromptTask(
    data=spec(source, length=length), rewards=(lower_case,)
  )
  data = data_prompts.tokenise(task.data.build()["train"], tokenizer)
  score = prompts.make_score(task)

  def collect(params, ids, indices, version):
    rows, tokens = zip(*(data[i] for i in indices), strict=True)
    return completions.complete(
      compiled,
      params,
      key,
      tokenizer,
      score,
      prompt_ids=ids,
      prompts=tokens,
      rows=rows,
      version=version,
    )

  return collect


def _converse(workload, compiled, key, tokenizer):
  def collect(params, ids, indices, version):
    return episodes.play(
      compiled,
      params,
      key,
      tokenizer,
      functools.partial(Talk, workload.turns),
      prompt_ids=ids,
      indices=indices,
      version=version,
      # As a run has it.
      calls=functools.partial(pool.Threads, 32, 60.0),
    )

  return collect
