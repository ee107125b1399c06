"""The warm start: imitating an environment's imperfect demonstrations."""

from collections.abc import Iterator
from typing import Any

from rlx import assemble, experiment, metrics, prompts, sft
from rlx import optimizer as optimizers
from rlx.data import rows
from rlx.data import sft as data_sft
from rlx.envs import protocol

SHOWN_EVERY = 10


class Demonstrations:
  """Conversations with an environment as rows with `messages`, by index."""

  def __init__(self, task: protocol.Demonstrated, num: int, seed: int):
    self._task = task
    self._num = num
    self._seed = seed

  def __len__(self) -> int:
    return self._num

  def __getitem__(self, index: int) -> dict[str, Any]:
    messages = []
    for shown, action in self._task.demonstration(index, self._seed):
      messages.append({"role": "user", "content": shown})
      messages.append({"role": "assistant", "content": action})
    return {"messages": messages}


class _First:
  """The first rows of a source."""

  def __init__(self, source: rows.Source, num: int):
    self._source = source
    self._num = min(num, len(source))

  def __len__(self) -> int:
    return self._num

  def __getitem__(self, index: int) -> Any:
    return self._source[index]


def _source(config: experiment.TrainConfig) -> rows.Source:
  """Returns demonstrations: the task's own, or rows with completions."""
  warm, task = config.warm_start, config.task
  assert warm is not None
  if isinstance(task, prompts.PromptTask):
    return _First(task.data.build()["train"], warm.num_demonstrations)
  return Demonstrations(task, warm.num_demonstrations, config.seed)


def imitate(
  config: experiment.TrainConfig, parts: assemble.Parts, policy: Any
) -> Iterator[tuple[int, Any, dict[str, float] | None]]:
  """Yields (updates done, parameters, metrics or None) after each update.

  The parameters given are donated. Every tenth update comes with the metrics of
  the one before, which the device has finished.
  """
  warm = config.warm_start
  assert warm is not None
  source = _source(config)
  trainer = sft.make_sft(
    parts.model,
    optimizers.make_optimizer(warm.optimizer),
    mesh=parts.mesh,
    microbatch_tokens=warm.microbatch_tokens,
    logit_tokens=config.learner.logit_tokens,
  )
  try:
    batches = data_sft.sft_batches(
      source,
      parts.tokenizer,
      batch_size=warm.batch_size,
      length=parts.length,
      seed=config.seed,
      pack=True,
    )
  except ValueError as error:
    raise ValueError(
      f"warm_start: {error} (the length is that of an episode: see "
      "rollout.max_prompt_length, max_turn_length and max_completion_length)"
    ) from error
  updates = sft.train(
    trainer, policy, trainer.init(policy), batches, mesh=parts.mesh
  )
  before: dict[str, Any] = {}
  for step, (policy, _, found, _) in enumerate(updates, start=1):
    shown = bool(before) and step % SHOWN_EVERY == 0
    yield step, policy, metrics.fetch(before) if shown else None
    before = found
    if step == warm.steps:
      return
