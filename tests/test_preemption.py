"""A run that is asked to stop finishes its step; asked twice, it obeys."""

import signal
import threading

import pytest

from rlx import preemption


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_a_flag_and_says_so(number, capfd):
  with preemption.Preemption() as stop:
    assert not stop.requested
    signal.raise_signal(number)
    assert stop.requested
    assert stop.signal == number
  assert f"{number.name}: finishing this step" in capfd.readouterr().err


def test_the_second_ctrl_c_interrupts():
  with preemption.Preemption():
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)


def test_a_second_sigterm_does_not():
  with preemption.Preemption() as stop:
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
  assert stop.requested


def test_handlers_are_as_before_afterwards():
  before = [signal.getsignal(x) for x in (signal.SIGTERM, signal.SIGINT)]
  with pytest.raises(RuntimeError), preemption.Preemption():
    raise RuntimeError
  after = [signal.getsignal(x) for x in (signal.SIGTERM, signal.SIGINT)]
  assert after == before


def test_in_another_thread_nothing_is_requested():
  flags = []

  def run():
    with preemption.Preemption() as stop:
      flags.append(stop.requested)

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert flags == [False]
