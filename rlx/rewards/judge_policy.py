"""A policy as judge: a verdict's probability, or what it writes.

Nothing is asked of another machine, and nothing is compiled twice: questions go
through in batches of one shape.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlx import policy as policies
from rlx import tokenizer as tokenizers
from rlx.rewards import judge
from rlx.rollout import decode, sampling


def verdicts(
  model: policies.Policy,
  params: Any,
  tokenizer: tokenizers.Tokenizer,
  *,
  length: int = 2048,
  rows: int = 8,
  yes: str = "yes",
  no: str = "no",
) -> judge.Judge:
  """A judge by the odds of two words as the next token.

      p(yes) / (p(yes) + p(no))

  A question with more tokens than `length` gets no verdict, and is counted as
  "too_long". "verdict_mass" is the mean of p(yes) + p(no): near 0, the policy
  would say something else altogether, and its odds mean little.

  Args:
    model: the policy's functions.
    params: its parameters.
    tokenizer: of the policy, with a chat form.
    length: tokens of a question, padded to.
    rows: questions at once.
    yes: a word; its first token speaks for it.
    no: another.

  Raises:
    ValueError: the words begin with one token, or with none.
  """
  words = _verdict_ids(tokenizer, yes, no)

  @jax.jit
  def probabilities(params, tokens, last):
    positions, real = _places(tokens.shape, last + 1)
    hidden = model.apply(params, tokens, positions, real.astype(jnp.int32))
    end = jnp.take_along_axis(hidden, last[:, None, None], axis=1)
    log_probs = jax.nn.log_softmax(model.logits(params, end)[:, 0])
    return jnp.exp(log_probs[:, jnp.array(words)])

  def grade(conversations: Sequence[judge.Conversation]) -> judge.Grades:
    values: list[float | None] = [None] * len(conversations)
    ids = [tokenizer.chat(conversation) for conversation in conversations]
    fits = [i for i, x in enumerate(ids) if len(x) <= length]
    mass = 0.0
    for start in range(0, len(fits), rows):
      some = fits[start : start + rows]
      tokens, last = _batch([ids[i] for i in some], rows, length)
      found = np.asarray(probabilities(params, tokens, last), np.float64)
      for i, (for_, against) in zip(some, found[: len(some)], strict=True):
        mass += for_ + against
        if for_ + against > 0:
          values[i] = float(for_ / (for_ + against))
    counts = {
      "too_long": len(ids) - len(fits),
      "verdict_mass": mass / max(len(fits), 1),
    }
    return judge.Grades(values, counts)

  return judge.Judge(f"Answer with one word: {yes} or {no}.", grade)


def writer(
  model: policies.Policy,
  params: Any,
  tokenizer: tokenizers.Tokenizer,
  *,
  length: int = 2048,
  max_tokens: int = 256,
  rows: int = 8,
  temperature: float | int = 0.0,
  seed: int = 0,
) -> judge.Ask:
  """What a policy writes in answer to each question, for `judge.reading`.

  None for a question with more tokens than `length`.

  Args:
    model: the policy's functions.
    params: its parameters.
    tokenizer: of the policy, with a chat form.
    length: tokens of a question, padded to.
    max_tokens: of an answer.
    rows: questions at once.
    temperature: 0 for the likeliest tokens.
    seed: of the draws; a question put again is drawn anew.

  Raises:
    ValueError: the temperature is negative.
  """
  sampler = sampling.Sampling(temperature=float(temperature))
  num_calls = 0

  @jax.jit
  def write(params, tokens, last, key):
    total, start = length + max_tokens, last + 1
    hidden, cache = decode.prefill(model, params, tokens, start, total)
    row = jnp.arange(rows, dtype=jnp.int32)
    decoded, _ = decode.decode(
      *(model, params, cache, hidden, start),
      jnp.ones((rows,), bool),
      sampling.row_keys(key, jnp.zeros_like(row), row),
      sampling=sampler,
      stop_ids=tokenizer.stop_ids,
      max_new=max_tokens,
      window=total,
    )
    return decoded.tokens, decoded.length - decoded.stopped

  def ask(conversations: Sequence[judge.Conversation]) -> list[str | None]:
    nonlocal num_calls
    texts: list[str | None] = [None] * len(conversations)
    ids = [tokenizer.chat(conversation) for conversation in conversations]
    fits = [i for i, x in enumerate(ids) if len(x) <= length]
    for start in range(0, len(fits), rows):
      some = fits[start : start + rows]
      tokens, last = _batch([ids[i] for i in some], rows, length)
      key = jax.random.fold_in(jax.random.key(seed), num_calls)
      num_calls += 1
      written, count = map(np.asarray, write(params, tokens, last, key))
      for row, i in enumerate(some):
        texts[i] = tokenizer.decode(written[row, : count[row]].tolist())
    return texts

  return ask


def _verdict_ids(tokenizer, yes: str, no: str) -> tuple[int, int]:
  ids = [tokenizer.encode(word)[:1] for word in (yes, no)]
  if not all(ids) or ids[0] == ids[1]:
    raise ValueError(
      f"{yes=} and {no=} must begin with a token each, and not with the same; "
      f"they begin with {ids[0]} and {ids[1]}"
    )
  return ids[0][0], ids[1][0]


def _places(shape, num: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Positions, and which of them have a token; the first `num` of each row."""
  rows, length = shape
  index = jnp.arange(length, dtype=jnp.int32)
  positions = jnp.broadcast_to(index[None], (rows, length))
  return positions, positions < num[:, None]


def _batch(ids: Sequence[Sequence[int]], rows: int, length: int):
  """Tokens padded to one shape, and where each row's last token is."""
  tokens, last = np.zeros((rows, length), np.int32), np.zeros(rows, np.int32)
  for row, own in enumerate(ids):
    tokens[row, : len(own)] = own
    last[row] = len(own) - 1
  return tokens, last
