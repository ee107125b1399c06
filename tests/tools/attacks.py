"""What hostile code tries, and what must come of it.

    python -m tests.tools.attacks LAYERS [drop]

prints one JSON object: for each attack what came back, and how long it took.
`drop` gives up root's capabilities first, as an ordinary user has none.
"""

import concurrent.futures
import json
import os
import pathlib
import sys
import tempfile
import threading
import time

from rlx.tools.sandbox import kernel, run

TIMEOUT = 1.0
_OUTSIDE = str(pathlib.Path(tempfile.gettempdir()) / "rlx-attack")

# Name: (code, what stands in the answer).
ATTACKS = {
  "fork bomb": (
    "import os\nwhile True:\n  os.fork()",
    "PermissionError|BlockingIOError|not finished",
  ),
  "process bomb": (
    "import subprocess\nwhile True: subprocess.Popen(['/bin/sh'])",
    "PermissionError|not finished|FileNotFoundError",
  ),
  "memory bomb": ("x = []\nwhile True: x.append(bytearray(1 << 24))", "Memory"),
  "list bomb": ("x = [0] * (1 << 40)", "MemoryError"),
  "endless loop": ("while True: pass", "not finished after 1 s"),
  "endless sleep": (
    "import signal, time\n"
    "for s in set(signal.Signals) - {9, 19}: signal.signal(s, signal.SIG_IGN)\n"
    "time.sleep(100)",
    "not finished after 1 s",
  ),
  "blocked in a huge power": ("9 ** 9 ** 9", "not finished|out of processor"),
  "recursion": ("f = lambda: f()\nf()", "RecursionError"),
  "stack overflow": (
    "import sys\nsys.setrecursionlimit(1 << 30)\n"
    "class A:\n  def __repr__(self): return repr([self])\nrepr(A())",
    "crashed|Memory|not finished",
  ),
  "nested code": ("(" * 100_000, "SyntaxError|MemoryError|Recursion"),
  "huge output": ("while True: print('x' * 1000)", "more than 4096 bytes"),
  "one huge line": ("print('x' * 10**8)", "more than 4096 bytes"),
  "output to both": (
    "import os\nwhile True: os.write(1, b'o' * 99); os.write(2, b'e' * 99)",
    "more than 4096 bytes",
  ),
  "closed output": (
    "import os, time\nos.close(1); os.close(2)\ntime.sleep(100)",
    "not finished after 1 s",
  ),
  "not utf-8": (
    "import sys\nsys.stdout.buffer.write(b'\\xff\\xfe\\0ok')\nraise ValueError",
    "\ufffd\ufffd\ufffdok",
  ),
  "lone surrogate": ("print('\\ud800')", "UnicodeEncodeError"),
  "write outside": (f"open({_OUTSIDE!r}, 'w')", "Error: .Errno"),
  "write above": ("open('../rlx-attack', 'w')", "Error: .Errno"),
  "write beside Python": (
    "import os\nopen(os.path.dirname(os.__file__) + '/evil.py', 'w')",
    "Error: .Errno",
  ),
  "link and write": (
    "import os\nos.symlink('/etc/passwd', 'p')\nopen('p', 'a')",
    "Error: .Errno",
  ),
  "huge file": (
    "f = open('x', 'wb')\nwhile True: f.write(b'x' * (1 << 20))",
    "File too large|No space|MiB in the folder",
  ),
  "many files": (
    "i = 0\nwhile True:\n"
    "  open(str(i), 'wb').write(b'x' * (1 << 20))\n  i += 1",
    "No space|MiB in the folder|too many",
  ),
  "read a file": ("print(open('/etc/passwd').read())", "Error: .Errno"),
  "read the parent's": ("open(<secret>).read()", "Error: .Errno"),
  "list a directory": (
    "import os\nprint(os.listdir(os.path.dirname(<secret>)))",
    "Error: .Errno",
  ),
  "parent's environment": (
    "import os\nprint(open(f'/proc/{os.getppid()}/environ').read())",
    "Error: .Errno",
  ),
  "own environment": (
    "import os\nprint(dict(os.environ))\nraise ValueError",
    "ValueError",
  ),
  "open a file to all": (
    "import os\nos.chmod(<secret>, 0o777)",
    "Error: .Errno",
  ),
  "change a date": ("import os\nos.utime(<secret>)", "Error: .Errno"),
  "connect": (
    "import socket\nsocket.create_connection(('127.0.0.1', <port>), 1)",
    "Error: .Errno",
  ),
  "listen": (
    "import socket\nsocket.create_server(('127.0.0.1', 0))\n"
    "socket.create_connection(('1.1.1.1', 80), .2)",
    "Error",
  ),
  "daemon": (
    "import os, time\n"
    "if not os.fork():\n  os.setsid()\n  if not os.fork(): time.sleep(100)\n"
    "  os._exit(0)\nos.wait()\nraise ValueError",
    "PermissionError|ValueError",
  ),
  "other group": (
    "import os, time\nos.setsid()\ntime.sleep(100)",
    "PermissionError|not finished",
  ),
  "kill everyone": (
    "import os\nos.kill(-1, 9)\nraise ValueError",
    "Error|SIGKILL",
  ),
  "kill the group": ("import os\nos.killpg(0, 9)\nraise ValueError", "Error|KILL"),
  "kill the parent": (
    "import os\nos.kill(<pid>, 9)\nos.kill(os.getppid(), 9)\nraise ValueError",
    "Error",
  ),
  "not to die with the parent": (
    "import ctypes, time\nprint(ctypes.CDLL(None).prctl(1, 0, 0, 0, 0))\n"
    "time.sleep(100)",
    "not finished",
  ),
  "stop itself": (
    "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nraise ValueError",
    "not finished|Error",
  ),
  "threads": (
    "import threading, time\n"
    "while True: threading.Thread(target=time.sleep, args=(99,)).start()",
    "can't start new thread|not finished|Memory",
  ),
  "exit": ("exit(3)", "exit status 3"),
  "exit at once": ("import os\nos._exit(7)", "exit status 7"),
  "abort": ("import os\nos.abort()", "SIGABRT|exit status"),
  "null pointer": ("import ctypes\nctypes.string_at(0)", "crashed"),
  "syntax": ("if", "SyntaxError"),
  "null byte": ("x = '\0'", "SyntaxError|ValueError"),
  "standard input": ("input()", "EOFError"),
  "raise the limits": (
    "import resource as r\n"
    "r.setrlimit(r.RLIMIT_AS, (r.RLIM_INFINITY, r.RLIM_INFINITY))",
    "ValueError|PermissionError",
  ),
  "run a program": (
    "import os\nos.execv('/bin/sh', ['sh'])",
    "PermissionError|FileNotFoundError",
  ),
  "mount": (
    "import ctypes\nl = ctypes.CDLL(None, use_errno=True)\n"
    "print(l.unshare(0x10020000), l.mount(b'x', b'/box', b'tmpfs', 0, None))\n"
    "open('/etc/passwd')",
    "Error: .Errno",
  ),
}  # fmt: skip


def fill(code: str, secret: str, port: int) -> str:
  """The code with what it attacks put in."""
  values = {"secret": repr(secret), "port": port, "pid": os.getpid()}
  for name, value in values.items():
    code = code.replace(f"<{name}>", str(value))
  return code


def children() -> list[str]:
  """Processes of sandboxes that are alive, by their command line."""
  found = []
  for path in pathlib.Path("/proc").glob("[0-9]*"):
    try:
      line = (path / "cmdline").read_text()
      state = (path / "stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
      continue
    if "import child; child.main()" in line and state not in "ZX":
      found.append(path.name)
  return found


def main(layers: list, drop: bool) -> dict[str, tuple[str, float]]:
  import socket

  if drop:
    kernel.drop_capabilities()
  os.environ["RLX_SECRET"] = "hunter2"
  box = run.Sandbox(
    timeout=TIMEOUT, cpu=2, memory=256, folder=4, output=4096,
    layers=tuple(layers),
  )  # fmt: skip
  run.check(box)
  found = {}
  lock = threading.Lock()
  with (
    # In a folder of its own: the interpreter may be somewhere beside it.
    tempfile.TemporaryDirectory() as folder,
    tempfile.NamedTemporaryFile("w", dir=folder) as secret,
    socket.create_server(("127.0.0.1", 0)) as server,
  ):
    secret.write("hunter2")
    secret.flush()
    port = server.getsockname()[1]

    def one(name: str) -> None:
      began = time.monotonic()
      outcome = box.run(fill(ATTACKS[name][0], secret.name, port))
      with lock:
        found[name] = (outcome.text, time.monotonic() - began)

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
      list(pool.map(one, ATTACKS))
  return {name: found[name] for name in ATTACKS}


if __name__ == "__main__":
  print(json.dumps(main(sys.argv[1].split("+"), "drop" in sys.argv[2:])))
