"""An endpoint's server misbehaves in every way, and a text or None comes back."""

import email.utils
import json
import logging
import socket
import threading
import time

import pytest

from rlx.rewards import judge_http
from tests.rewards import stub

QUESTION = [{"role": "user", "content": "How good is it?"}]
KEY = "sk-hunter2"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
  monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def make(server, **settings):
  settings = {"timeout": 0.8, "backoff": 0.01, "retries": 2} | settings
  return judge_http.Endpoint(server.url, "judge", **settings)


def test_a_question_is_put_as_openai_has_it(monkeypatch):
  monkeypatch.setenv("OPENAI_API_KEY", KEY)
  with stub.Server(stub.reply("Score: 7")) as server:
    endpoint = make(server, body={"max_tokens": 5})
    assert endpoint([QUESTION]) == ["Score: 7"]
    assert endpoint([]) == []
  ((path, headers, body),) = server.requests
  assert path == "/v1/chat/completions"
  assert headers["Authorization"] == f"Bearer {KEY}"
  assert body == {
    "model": "judge",
    "temperature": 0,
    "max_tokens": 5,
    "messages": QUESTION,
  }
  assert endpoint.counts["calls"] == 1
  assert endpoint.counts["tokens"] == 10


def test_answers_keep_the_order_of_the_questions_and_overlap():
  inside, most = [0], [0]
  lock = threading.Lock()

  def slow(handler):
    with lock:
      inside[0] += 1
      most[0] = max(most[0], inside[0])
    time.sleep(0.05)
    with lock:
      inside[0] -= 1
    return None

  def answer(handler):
    slow(handler)
    return stub.reply("yes")

  questions = [[{"role": "user", "content": str(i)}] for i in range(12)]
  with stub.Server(answer) as server:
    endpoint = make(server, concurrency=4, timeout=5)
    assert endpoint(questions) == ["yes"] * 12
  assert 2 <= most[0] <= 4


GARBLED = [
  (200, {}, "not json"),
  (200, {}, "[]"),
  (200, {}, "null"),
  (200, {}, "{}"),
  (200, {}, '{"choices": []}'),
  (200, {}, '{"choices": [{"message": {"content": null}}]}'),
  (200, {}, '{"choices": [{"message": {"content": ["x"]}}]}'),
  (200, {}, '{"choices": [{"message": {"content": "  "}}]}'),
  (200, {}, "[" * 100_000),
  (200, {}, "x" * (1 << 20) + "x"),
  (429, {}, ""),
  (429, {"Retry-After": "0.01"}, ""),
  (429, {"Retry-After": "soon"}, ""),
  (429, {"Retry-After": "-5"}, ""),
  (503, {"Retry-After": email.utils.formatdate(0)}, ""),
  (500, {}, "<html>"),
  (529, {}, ""),
  stub.hang,
  stub.close,
  stub.drip,
  stub.drip_header,
  stub.short,
  stub.not_http,
]


@pytest.mark.parametrize("bad", GARBLED, ids=lambda x: str(x)[:40])
def test_what_fails_is_tried_again(bad):
  with stub.Server(bad, stub.reply("fine")) as server:
    endpoint = make(server)
    began = time.monotonic()
    assert endpoint([QUESTION]) == ["fine"]
    assert time.monotonic() - began < 5
    assert endpoint.counts["retries"] == 1
    assert endpoint.counts["failed"] == 0


@pytest.mark.parametrize("bad", [GARBLED[0], GARBLED[15], stub.close])
def test_what_goes_on_failing_is_given_up_and_counted(bad):
  with stub.Server(bad) as server:
    endpoint = make(server)
    assert endpoint([QUESTION]) == [None]
    assert len(server.requests) == 3
    assert endpoint.counts["failed"] == 1


def test_a_server_that_is_not_there_is_given_up():
  with stub.Server(stub.reply("x")) as server:
    pass
  endpoint = make(server)
  assert endpoint([QUESTION]) == [None]
  assert endpoint.counts["failed"] == 1


def test_the_deadline_is_of_connecting_too(monkeypatch):
  over = threading.Event()
  monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(5))
  endpoint = judge_http.Endpoint(
    "http://host.invalid", "m", timeout=0.2, retries=0
  )
  began = time.monotonic()
  assert endpoint([QUESTION]) == [None]
  assert time.monotonic() - began < 1.5
  assert endpoint.counts["failed"] == 1
  over.set()


def test_retry_after_is_waited_for_unless_it_is_too_long():
  with stub.Server(
    (429, {"Retry-After": "0.2"}, ""), stub.reply("x")
  ) as server:
    began = time.monotonic()
    assert make(server)([QUESTION]) == ["x"]
    assert time.monotonic() - began >= 0.2
  with stub.Server(
    (429, {"Retry-After": "3600"}, ""), stub.reply("x")
  ) as server:
    assert make(server)([QUESTION]) == [None]
    assert len(server.requests) == 1


def test_waits_grow_and_are_drawn():
  endpoint = judge_http.Endpoint("http://localhost", "m", backoff=1, max_wait=6)
  waits = [
    [endpoint._wait(k, None) or 0.0 for _ in range(50)] for k in range(5)
  ]
  for k, row in enumerate(waits):
    longest = min(2**k, 6)
    assert longest / 2 <= min(row) < max(row) <= longest


def test_one_question_that_is_refused_costs_only_itself():
  def picky(handler):
    long = "long" in json.dumps(server.requests[-1][2])
    return (400, {}, "too long") if long else stub.reply("fine")

  long = [{"role": "user", "content": "long"}]
  with stub.Server(picky) as server:
    endpoint = make(server, concurrency=1)
    assert endpoint([QUESTION, long, QUESTION]) == ["fine", None, "fine"]
    assert endpoint.counts["refused"] == 1
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_wrong_settings_stop_the_run(status):
  with (
    stub.Server((status, {}, "no such model")) as server,
    pytest.raises(judge_http.EndpointError, match=f"{status}: no such model"),
  ):
    make(server)([QUESTION] * 3)


def test_redirects_are_not_followed():
  away = (302, {"Location": "http://127.0.0.1:1/steal"}, "")
  with (
    stub.Server(away) as server,
    pytest.raises(judge_http.EndpointError, match="not followed"),
  ):
    make(server)([QUESTION])


@pytest.mark.parametrize(
  "budget, asked",
  [
    (judge_http.Budget(calls=2), 2),
    (judge_http.Budget(tokens=25), 3),  # Ten a call: the third goes beyond.
    (judge_http.Budget(calls=0), 0),
  ],
)
def test_a_spent_budget_abstains(budget, asked):
  with stub.Server(stub.reply("x")) as server:
    endpoint = make(server, budget=budget, concurrency=1)
    want = ["x"] * asked + [None] * (6 - asked)
    assert endpoint([QUESTION] * 4) + endpoint([QUESTION] * 2) == want
    assert len(server.requests) == asked
    assert endpoint.counts["over_budget"] == 6 - asked


def test_seconds_are_a_budget_too_and_cut_what_is_under_way():
  with stub.Server(stub.hang) as server:
    endpoint = make(
      server, budget=judge_http.Budget(seconds=0.3), timeout=10, concurrency=2
    )
    began = time.monotonic()
    assert endpoint([QUESTION] * 4) == [None] * 4
    assert time.monotonic() - began < 1.4
    assert endpoint([QUESTION]) == [None]
    assert endpoint.counts["over_budget"] >= 3


@pytest.mark.parametrize("total", [None, "7", True, -1, 10**400])
def test_tokens_are_estimated_where_the_server_counts_none(total):
  message = {"choices": [{"message": {"content": "x" * 400}}]}
  body = json.dumps(message | {"usage": {"total_tokens": total}})
  with stub.Server((200, {}, body)) as server:
    endpoint = make(server)
    endpoint([QUESTION])
    assert 100 < endpoint.counts["tokens"] < 300


def test_the_key_is_never_shown(monkeypatch, caplog):
  monkeypatch.setenv("MY_KEY", KEY)
  caplog.set_level(logging.DEBUG)
  with stub.Server(stub.echo) as server:
    endpoint = make(server, key_env="MY_KEY")
    with pytest.raises(judge_http.EndpointError) as caught:
      endpoint([QUESTION])
  shown = f"{caught.value!r} {caught.value.__cause__!r} {endpoint!r}"
  shown += f"{vars(endpoint)} {caplog.text}"
  assert "bad key Bearer ***" in shown
  assert "hunter2" not in shown


@pytest.mark.parametrize("key", [f"{KEY}\r\nX-Evil: 1", f"{KEY}\x7f", "ключ"])
def test_a_key_with_odd_characters_is_refused_and_not_shown(monkeypatch, key):
  monkeypatch.setenv("OPENAI_API_KEY", key)
  with stub.Server(stub.reply("x")) as server:
    with pytest.raises(judge_http.EndpointError, match="odd char") as caught:
      make(server)([QUESTION])
    assert not server.requests
  assert key[:10] not in str(caught.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "127.example.org", "[::2]"])
def test_a_key_does_not_go_unencrypted_to_other_machines(monkeypatch, host):
  monkeypatch.setenv("OPENAI_API_KEY", KEY)
  far = judge_http.Endpoint(
    f"http://{host}/v1?api-key=hunter2", "m", timeout=0.1, retries=0
  )
  with pytest.raises(judge_http.EndpointError, match="unencrypted") as caught:
    far([QUESTION])
  assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
  "url, settings, message",
  [
    ("ftp://host", {}, "is not http"),
    ("host/v1", {}, "is not http"),
    ("https://me:secret@host/v1", {}, "has a password in it"),
    ("http://host:x", {}, "the judge's url: Port"),
    ("http://host", {"timeout": 0}, "timeout=0 must be positive"),
    ("http://host", {"retries": -1}, "retries=-1"),
    ("http://host", {"concurrency": 0}, "concurrency=0 1 or more"),
  ],
)
def test_settings_that_cannot_be_are_refused(url, settings, message):
  with pytest.raises(ValueError, match=message) as caught:
    judge_http.Endpoint(url, "m", **settings)
  assert "secret" not in str(caught.value)
