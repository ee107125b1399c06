"""Landlock: which files a process may reach, kept by the kernel, without root.

It stays with the process and its children, and cannot be taken off. That a file
exists, and how large it is, can still be asked.
"""

import ctypes
import os
from collections.abc import Sequence

from rlx.tools.sandbox import kernel

_EXECUTE, _WRITE, _READ, _READ_DIRECTORY = 1, 2, 4, 8
_READING = _EXECUTE | _READ | _READ_DIRECTORY
_FIRST_RIGHTS = (1 << 13) - 1  # Of version 1.
_OF_FILES = _EXECUTE | _WRITE | _READ | (1 << 14) | (1 << 15)
_LATER_RIGHTS = {2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_TCP = 0b11  # To bind, to connect.
_SCOPES = 0b11  # Abstract sockets, signals.


def version() -> int:
  """Of Landlock in this kernel; 0 where there is none."""
  try:
    return kernel.syscall(kernel.LANDLOCK_CREATE_RULESET, None, 0, 1)
  except OSError:
    return 0


def restrict(readable: Sequence[str], writable: Sequence[str]) -> int:
  """Confines this process to these paths and what is beneath; the version.

  Where the kernel can, also: no TCP (from version 4), no signals to and no
  abstract sockets of processes outside (6).

  Raises:
    OSError: there is no Landlock, or it refuses.
  """
  found = version()
  rights = _FIRST_RIGHTS
  for since, bit in _LATER_RIGHTS.items():
    rights |= bit if found >= since else 0
  words = [rights, _TCP, _SCOPES]
  size = 8 * (1 if found < 4 else 2 if found < 6 else 3)
  attributes = (ctypes.c_uint64 * 3)(*words)
  rules = kernel.syscall(
    kernel.LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), size, 0
  )
  try:
    for path in readable:
      _allow(rules, path, _READING & rights)
    for path in writable:
      _allow(rules, path, rights)
    kernel.syscall(kernel.LANDLOCK_RESTRICT_SELF, rules, 0)
  finally:
    os.close(rules)
  return found


def _allow(rules: int, path: str, rights: int) -> None:
  class Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("rights", ctypes.c_uint64), ("parent", ctypes.c_int32))

  try:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
  except FileNotFoundError:
    return
  try:
    if not os.path.isdir(path):
      rights &= _OF_FILES
    beneath = Beneath(rights, handle)
    kernel.syscall(kernel.LANDLOCK_ADD_RULE, rules, 1, ctypes.byref(beneath), 0)
  finally:
    os.close(handle)
