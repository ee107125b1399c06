"""Judges that hang, crash and raise, and a parent that does not mind.

The functions judged are builtins and library functions, as a child process has
to import them.
"""

import functools
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from rlx.rewards import math_answer, process

UNCLEAR = math_answer.Verdict.COULD_NOT_JUDGE


@pytest.fixture(scope="module")
def evaluate():
  """The most careless judge there is."""
  with process.ProcessJudge(eval, timeout=1.0) as judge:
    yield judge


def test_a_verdict_comes_back_from_the_child():
  with process.ProcessJudge(math_answer.judge) as judge:
    assert judge(r"\boxed{5}", "5") is math_answer.Verdict.RIGHT
    assert judge(r"\boxed{6}", "5") is math_answer.Verdict.WRONG
    assert judge("9" * 1_000_000, "5") is UNCLEAR
    assert (judge.num_timeouts, judge.num_crashes) == (0, 0)


@pytest.mark.parametrize(
  "text",
  [
    "9**9**9**9",
    "__import__('time').sleep(60)",
    "__import__('re').fullmatch('(a+)+', 'a' * 40 + '!')",
  ],
  ids=["tower", "sleep", "backtracking"],
)
def test_what_hangs_is_killed_counted_and_followed_by_a_fresh_process(
  evaluate, text
):
  evaluate("1 + 1")
  child = evaluate("__import__('os').getpid()")
  before, start = evaluate.num_timeouts, time.monotonic()
  assert evaluate(text) is UNCLEAR
  assert time.monotonic() - start < 10
  assert evaluate.num_timeouts == before + 1
  with pytest.raises(ProcessLookupError):
    os.kill(child, 0)
  assert evaluate("1 + 1") == 2


def test_a_crash_is_counted_and_followed_by_a_fresh_process(evaluate):
  before = evaluate.num_crashes
  assert evaluate("__import__('os')._exit(3)") is UNCLEAR
  assert evaluate("__import__('os').abort()") is UNCLEAR
  assert evaluate.num_crashes == before + 2
  assert evaluate("2 + 2") == 4


def test_what_the_judge_started_is_killed_too(evaluate, tmp_path):
  path = tmp_path / "pid"
  shell = f"echo $$ > {path}; sleep 60"
  assert evaluate(f"__import__('os').system({shell!r})") is UNCLEAR
  assert is_gone(int(path.read_text()))


def is_gone(pid):
  for _ in range(100):
    stat = pathlib.Path(f"/proc/{pid}/stat")
    if (
      not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"
    ):
      return True
    time.sleep(0.02)
  return False


def test_an_exception_is_raised_with_the_childs_traceback(evaluate):
  with pytest.raises(RuntimeError, match="ZeroDivisionError"):
    evaluate("1 / 0")
  with pytest.raises(RuntimeError, match="pickle"):
    evaluate("lambda: 0")
  assert evaluate("3 + 3") == 6


def test_calls_from_several_threads_take_turns(evaluate):
  results = {}

  def work(n):
    results[n] = [evaluate(f"{n} * {k}") for k in range(20)]

  threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert results == {n: [n * k for k in range(20)] for n in range(4)}


def test_a_judge_that_a_child_cannot_import_is_refused():
  with pytest.raises(ValueError, match="define it at the top of a module"):
    process.ProcessJudge(lambda x: x)
  with pytest.raises(ValueError, match=r"timeout=-1\.0"):
    process.ProcessJudge(eval, timeout=-1.0)


class Unloadable:
  """Pickles here, and fails to load in the child."""

  def __call__(self):
    return None

  def __reduce__(self):
    return (os._exit, (7,))


def test_a_process_that_does_not_start_says_so():
  with pytest.raises(RuntimeError, match="exit code 7 while starting"):
    process.ProcessJudge(Unloadable())()


def test_a_closed_judge_starts_again():
  judge = process.ProcessJudge(functools.partial(re.sub, "a", "b"))
  assert judge("aaa") == "bbb"
  judge.close()
  judge.close()
  assert judge("aaa") == "bbb"
  judge.close()


ORPHAN = """
import os, signal
from rlx.rewards import process
if __name__ == "__main__":
  judge = process.ProcessJudge(os.getpid)
  print(judge(), flush=True)
  os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_child_ends_when_its_parent_is_killed(tmp_path):
  path = tmp_path / "orphan.py"
  path.write_text(ORPHAN)
  done = subprocess.run(
    [sys.executable, str(path)], capture_output=True, text=True, check=False
  )
  assert done.returncode == -signal.SIGKILL, done.stderr
  assert is_gone(int(done.stdout))


def test_a_judge_becomes_a_reward_with_its_failures_logged():
  logged = {}
  with process.ProcessJudge(math_answer.judge, timeout=20.0) as judge:
    judge.num_timeouts = 3  # Of calls before these.
    reward = process.verified_by(judge)
    rewards = reward(
      completions=[r"\boxed{5}", r"\boxed{6}", r"\boxed{\pi}"],
      answer=["5"] * 3,
      log_metric=logged.__setitem__,
    )
  assert rewards == [1.0, 0.0, 0.0]
  want = {"could_not_judge": 1 / 3, "timeouts": 0, "crashes": 0}
  assert logged == want
