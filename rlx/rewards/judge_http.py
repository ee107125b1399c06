"""A judge behind an OpenAI-compatible endpoint: vLLM, SGLang, a vendor's.

It is asked over `http.client`, from threads. Whatever a server does, asking
returns: with a text, or with the reason why there is none.
"""

import concurrent.futures
import json
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rlx.rewards import judge_prompts, judge_wire

_LATER = (408, 409, 425, 429, 529)  # Statuses after which one tries again.
_MAX_TOKENS = 1 << 32  # That a server may say an answer cost.
_NEVER = (401, 403, 404, 405)  # Statuses that say the settings are wrong.


class EndpointError(RuntimeError):
  """The settings are wrong: no retry can help. It never names the key."""


class Budget(NamedTuple):
  """What an endpoint may cost in all; None for without limit.

  Attributes:
    calls: requests, retries included.
    tokens: as the server counts them; where it does not, a quarter of the
      characters.
    seconds: spent in waiting for answers.
  """

  calls: int | None = None
  tokens: int | None = None
  seconds: float | int | None = None


class Endpoint:
  """`POST {url}/chat/completions`, many at once; an `Ask` of `rewards.judge`.

  A server that is busy (429, 5xx), slow, silent or garbled is tried again,
  after `Retry-After` or a wait that doubles, with jitter. When the retries or
  the budget are used up there is no text, and the reason is counted. Redirects
  are not followed. The key is read from the environment when it is needed; it
  stands in no attribute, log or error.

  Attributes:
    counts: "calls", "retries", "tokens", "seconds" so far, and of questions
      without an answer "over_budget", "refused" (4xx) and "failed".
  """

  def __init__(
    self,
    url: str,
    model: str,
    *,
    key_env: str = "OPENAI_API_KEY",
    timeout: float | int = 60.0,
    retries: int = 4,
    backoff: float | int = 0.5,
    max_wait: float | int = 30.0,
    concurrency: int = 8,
    budget: Budget = Budget(),
    plain_key: bool = False,
    body: Mapping[str, Any] | None = None,
  ):
    """Prepares an endpoint; nothing is sent yet.

    Args:
      url: up to and without "/chat/completions", often ending in "/v1".
      model: name of the model.
      key_env: environment variable with the key; unset or empty for none.
      timeout: seconds a request may take in all.
      retries: of a question, after its first request.
      backoff: seconds before the first retry; doubled for each that follows,
        and drawn from half of it to all of it.
      max_wait: longest wait between two requests; a server that asks for more
        is given up on.
      concurrency: requests at once.
      budget: in all.
      plain_key: send the key over unencrypted http to other machines.
      body: further fields of requests, such as max_tokens and temperature.

    Raises:
      ValueError: an argument is out of range, or the url is none.
    """
    if timeout <= 0 or retries < 0 or concurrency < 1 or backoff < 0:
      raise ValueError(
        f"{timeout=} must be positive, {retries=} and {backoff=} 0 or more,"
        f" {concurrency=} 1 or more"
      )
    self._target = judge_wire.parse(url)
    self._url = judge_wire.shown(self._target)
    self._key_env, self._plain_key = key_env, plain_key
    self._timeout, self._retries = float(timeout), retries
    self._backoff, self._max_wait = float(backoff), float(max_wait)
    self._concurrency, self._budget = concurrency, budget
    self._body = {"temperature": 0, "max_tokens": 512, **(body or {})}
    self._body["model"] = model
    self._lock = threading.Lock()
    self.counts: dict[str, float | int] = dict.fromkeys(
      (*("calls", "retries", "tokens", "seconds"),
       *("over_budget", "refused", "failed")), 0,
    )  # fmt: skip

  def __repr__(self) -> str:
    return f"Endpoint({self._url!r}, {self._body['model']!r})"

  def __call__(
    self, conversations: Sequence[judge_prompts.Conversation]
  ) -> list[str | None]:
    """An answer to each, in order, or None; see the class.

    Raises:
      EndpointError: the server says that key, address or model are wrong.
    """
    if not conversations:
      return []
    key, began = self._key(), time.monotonic()
    left = self._budget.seconds
    if left is not None:
      left -= self.counts["seconds"]
    deadline = None if left is None else began + left
    stop = threading.Event()
    try:
      with concurrent.futures.ThreadPoolExecutor(
        min(self._concurrency, len(conversations))
      ) as pool:
        waiting = [
          pool.submit(self._one, conversation, key, deadline, stop)
          for conversation in conversations
        ]
        try:
          return [future.result() for future in waiting]
        except BaseException:
          stop.set()
          pool.shutdown(cancel_futures=True)
          raise
    finally:
      self._count("seconds", time.monotonic() - began)

  def _key(self) -> str:
    """The key. Raises EndpointError where it cannot be sent."""
    key = os.environ.get(self._key_env, "").strip()
    if not key:
      return ""
    # Before the library is given it, whose error would show it.
    if not key.isascii() or not key.isprintable() or " " in key:
      raise EndpointError(f"the key in ${self._key_env} has odd characters")
    secure = self._target.scheme == "https" or judge_wire.is_local(
      self._target.hostname
    )
    if not (secure or self._plain_key):
      raise EndpointError(
        f"the key in ${self._key_env} would go unencrypted to {self._url}: use"
        " https, or plain_key=True in a network that you trust"
      )
    return key

  def _one(
    self,
    conversation: judge_prompts.Conversation,
    key: str,
    deadline: float | None,
    stop: threading.Event,
  ) -> str | None:
    """One question, with its retries."""
    body = json.dumps({**self._body, "messages": [*conversation]}).encode()
    for attempt in range(self._retries + 1):
      left = self._timeout
      if deadline is not None:
        left = min(left, deadline - time.monotonic())
      if stop.is_set() or not self._may_call(left):
        return self._without("over_budget")
      self._count("retries", int(attempt > 0))
      status, after, found = judge_wire.post(self._target, body, key, left)
      if 200 <= status < 300:
        text = self._text(found, len(body))
        if text is not None:
          return text
      elif 300 <= status < 400 or status in _NEVER:
        raise EndpointError(self._said(status, found, key))
      elif 400 <= status < 500 and status not in _LATER:
        return self._without("refused")
      wait = self._wait(attempt, after)
      if wait is None or attempt == self._retries:
        break
      if deadline is not None and time.monotonic() + wait >= deadline:
        return self._without("over_budget")
      stop.wait(wait)
    return self._without("failed")

  def _may_call(self, left: float) -> bool:
    """Whether the budget has one more request, which is taken from it."""
    budget, counts = self._budget, self.counts
    with self._lock:
      if left <= 0 or (
        (budget.calls is not None and counts["calls"] >= budget.calls)
        or (budget.tokens is not None and counts["tokens"] >= budget.tokens)
      ):
        return False
      counts["calls"] += 1
      return True

  def _text(self, found: bytes, sent: int) -> str | None:
    """The text of an answer, whose tokens are counted; None if garbled."""
    if len(found) > judge_wire.MAX_BODY:
      return None
    try:
      tree = json.loads(found)
      text = tree["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
      tree, text = None, None
    usage = tree.get("usage") if isinstance(tree, dict) else None
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    if type(total) is not int or not 0 <= total < _MAX_TOKENS:
      total = (sent + len(found)) // 4
    self._count("tokens", total)
    return text if isinstance(text, str) and text.strip() else None

  def _wait(self, attempt: int, after: str | None) -> float | None:
    """Seconds until the next attempt; None if they are too many."""
    asked = judge_wire.seconds(after)
    if asked is not None:
      return asked if asked <= self._max_wait else None
    longest = min(self._backoff * 2.0**attempt, self._max_wait)
    return longest * random.uniform(0.5, 1.0)

  def _said(self, status: int, found: bytes, key: str) -> str:
    text = found[:500].decode(errors="replace")
    if key:
      text = text.replace(key, "***")
    where = "it redirects, which is not followed" if status < 400 else text
    return f"the judge at {self._url} refuses with {status}: {where}"

  def _without(self, reason: str) -> None:
    self._count(reason, 1)

  def _count(self, name: str, amount: float | int) -> None:
    with self._lock:
      self.counts[name] += amount
