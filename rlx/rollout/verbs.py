"""The verbs: the whole interface that methods ask of the rollout engine.

`sample` and `continue_from` draw, and are bound to parameters, a task and a
mesh in `Verbs`. The rest are plain functions on what was drawn: `score` asks
the task, `edit` is in `edits`, `filter` in `filters`, `buffer` in `buffers`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from rlx import tokenizer as tokenizers
from rlx.rollout import engine, played

Name = Literal["sample", "continue_from", "edit", "score", "filter", "buffer"]


class Cut(NamedTuple):
  """A place to go on from: the first `length` tokens of a row.

  A completion can be cut anywhere behind its prompt. An episode can be cut
  where one of its turns begins, or where the next one would.
  """

  row: int
  length: int


class Verbs(NamedTuple):
  """What can be drawn with one version of the parameters.

  Attributes:
    sample: `(prompt_ids, indices) -> Played`: `shape.num_samples` trajectories
      of each prompt, rows in the order of the prompts.
    start: `(prompt_ids, indices) -> Played`: a row a prompt, with the prompt
      and nothing else: what trees grow from.
    continue_from: `(played, cuts, n, *, max_tokens=None, max_turns=None,
      seed=0, keep=True) -> Played`: `n` rows for each cut, in order. A row
      holds the kept tokens, which nobody chose, then what was drawn. Its
      record's steps are the new ones. Rewards are those of the new steps; a
      completion's reward is that of the whole text, kept part included. With
      `max_tokens` a completion, and with `max_turns` an episode, may stay
      unfinished: its `stop` is then "cut", a completion is not scored, and it
      can be continued. `seed` tells draws from one place apart. Without `keep`,
      episodes cannot be continued again, and completions only by reading them
      again.
    score: `(played, rows, texts) -> (rewards[N], successes[N])`: what the task
      pays for these completions of the rows' prompts. Single-turn tasks only.
    tokenizer: of the model.
    shape: static sizes of `sample`.
    version: update count of the parameters.
    evidence: state of the recipe's providers, second learners among them.
    under: `(params) -> Verbs`: the same with other parameters, as a prover's.
  """

  sample: Callable[[Sequence[int], Sequence[int]], played.Played]
  start: Callable[[Sequence[int], Sequence[int]], played.Played]
  continue_from: Callable[..., played.Played]
  score: Callable[..., Any]
  tokenizer: tokenizers.Tokenizer
  shape: engine.Shape
  version: int
  evidence: Any = ()
  under: Callable[[Any], Any] | None = None
