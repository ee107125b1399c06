"""One request to a judge's server, whatever that does."""

import contextlib
import email.utils
import http.client
import ipaddress
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import NamedTuple

MAX_BODY = 1 << 20  # Bytes of an answer that are read, and one more.


class Response(NamedTuple):
  """Status, the header Retry-After, and the body."""

  status: int
  retry_after: str | None
  body: bytes


def parse(url: str) -> urllib.parse.SplitResult:
  """The parts of a url. Raises ValueError."""
  target = urllib.parse.urlsplit(url)
  if target.username or target.password:
    # Not shown: there is a password in it.
    raise ValueError("the judge's url has a password in it; use key_env")
  if target.scheme not in ("http", "https") or not target.hostname:
    raise ValueError(
      f"the judge's url {shown(target)!r} is not http://... or https://..."
    )
  try:
    _ = target.port
  except ValueError as error:
    raise ValueError(f"the judge's url: {error}") from None
  return target


def is_local(host: str | None) -> bool:
  """Whether a host is this machine, by its address or as `localhost`."""
  if host == "localhost":
    return True
  try:
    return ipaddress.ip_address(host or "").is_loopback
  except ValueError:
    return False


def shown(target: urllib.parse.SplitResult) -> str:
  """A url for errors, without its query, which may hold a key."""
  return urllib.parse.urlunsplit(target._replace(query="", fragment=""))


def post(
  target: urllib.parse.SplitResult, body: bytes, key: str, left: float
) -> Response:
  """What a server says to one request, within `left` seconds.

  Status 0 where it says nothing that can be read.
  """
  headers = {"Content-Type": "application/json", "Connection": "close"}
  if key:
    headers["Authorization"] = f"Bearer {key}"
  path = f"{target.path.rstrip('/')}/chat/completions"
  path += f"?{target.query}" if target.query else ""
  connection, until = _connection(target, left), time.monotonic() + left
  try:
    _connect(connection, left)
    with _within(connection, until - time.monotonic()):
      connection.request("POST", path, body, headers)
      response = connection.getresponse()
      found = response.read(MAX_BODY + 1)
      after = response.getheader("Retry-After")
      return Response(response.status, after, found)
  except (OSError, http.client.HTTPException, ValueError):
    # The library's errors may show what was sent; nobody is told them.
    return Response(0, None, b"")
  finally:
    connection.close()


def _connection(
  target: urllib.parse.SplitResult, timeout: float
) -> http.client.HTTPConnection:
  host = target.hostname or ""
  if target.scheme == "http":
    return http.client.HTTPConnection(host, target.port, timeout=timeout)
  context = ssl.create_default_context()
  return http.client.HTTPSConnection(
    host, target.port, timeout=timeout, context=context
  )


def _connect(connection: http.client.HTTPConnection, seconds: float) -> None:
  """Connects in so long, or raises what it raised, or TimeoutError.

  In a thread, as looking up a name has no timeout, and every address of it and
  every message of TLS one of its own.
  """
  late, raised = threading.Event(), []

  def work() -> None:
    try:
      connection.connect()
    except Exception as error:  # It is raised below.
      raised.append(error)
    if late.is_set():
      connection.close()

  thread = threading.Thread(target=work, name="rlx-judge-connect", daemon=True)
  thread.start()
  thread.join(seconds)
  if thread.is_alive():
    late.set()
    raise TimeoutError
  if raised:
    raise raised[0]


@contextlib.contextmanager
def _within(
  connection: http.client.HTTPConnection, seconds: float
) -> Iterator[None]:
  """Cuts a connection after so long: timeouts of sockets are of each byte."""
  late = threading.Event()

  def cut() -> None:
    late.set()
    with contextlib.suppress(OSError, AttributeError):
      connection.sock.shutdown(socket.SHUT_RDWR)

  watch = threading.Timer(seconds, cut)
  watch.daemon = True
  watch.start()
  try:
    yield
    if late.is_set():
      raise TimeoutError
  finally:
    watch.cancel()


def seconds(text: str | None) -> float | None:
  """Seconds, from a number of them or a date."""
  if text is None:
    return None
  with contextlib.suppress(ValueError):
    return max(float(text), 0.0) if float(text) < float("inf") else None
  try:
    return max(
      email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0
    )
  except (ValueError, TypeError, OverflowError):
    return None
