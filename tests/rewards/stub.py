"""A judge's server that misbehaves as it is told."""

import contextlib
import http.server
import json
import socket
import threading
import time

CHUNK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def reply(text, tokens=10):
  """A well-behaved answer."""
  body = {"choices": [{"message": {"role": "assistant", "content": text}}]}
  return 200, {}, json.dumps(body | {"usage": {"total_tokens": tokens}})


class Server:
  """Answers request `i` with `behave(i, body)`, or the last of a list.

  A behaviour is (status, headers, text), or a function of the connection.
  """

  def __init__(self, *behaviours):
    self.behaviours, self.requests = behaviours, []
    self.lock = threading.Lock()
    stub = self

    class Handler(http.server.BaseHTTPRequestHandler):
      def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        with stub.lock:
          number = len(stub.requests)
          stub.requests.append((self.path, dict(self.headers), body))
        found = stub.behaviours[min(number, len(stub.behaviours) - 1)]
        if callable(found):
          found = found(self)
        if not isinstance(found, tuple):
          return
        status, headers, text = found
        data = text.encode()
        with contextlib.suppress(OSError):
          self.send_response(status)
          for name, value in headers.items():
            self.send_header(name, value)
          self.send_header("Content-Length", str(len(data)))
          self.end_headers()
          self.wfile.write(data)

      def log_message(self, format, *args):
        pass

    class Quiet(http.server.ThreadingHTTPServer):
      daemon_threads = True

      def handle_error(self, request, client_address):
        pass

    self._server = Quiet(("127.0.0.1", 0), Handler)
    self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
    self._thread = threading.Thread(
      target=self._server.serve_forever, args=(0.01,), daemon=True
    )

  def __enter__(self):
    self._thread.start()
    return self

  def __exit__(self, *_):
    self._server.shutdown()
    self._server.server_close()
    self._thread.join()


def hang(handler):
  """Says nothing for longer than anybody waits."""
  time.sleep(1.5)


def close(handler):
  """Hangs up without a word."""
  handler.close_connection = True
  with contextlib.suppress(OSError):
    handler.connection.shutdown(socket.SHUT_RDWR)


def drip(handler):
  """Sends a byte now and then, for ever, each in time."""
  with contextlib.suppress(OSError):
    handler.connection.sendall(CHUNK + b"Content-Length: 1000\r\n\r\n")
    for _ in range(40):
      handler.connection.sendall(b" ")
      time.sleep(0.05)


def drip_header(handler):
  """The same, before any of the answer."""
  with contextlib.suppress(OSError):
    handler.connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(40):
      handler.connection.sendall(b"x")
      time.sleep(0.05)


def short(handler):
  """Promises more than it sends."""
  with contextlib.suppress(OSError):
    handler.connection.sendall(CHUNK + b"Content-Length: 1000\r\n\r\n{")
  close(handler)


def not_http(handler):
  """Speaks another language."""
  with contextlib.suppress(OSError):
    handler.connection.sendall(b"220 smtp ready\r\n")
  close(handler)


def echo(handler):
  """Repeats the key in its refusal."""
  return 401, {}, f"bad key {handler.headers['Authorization']}"
