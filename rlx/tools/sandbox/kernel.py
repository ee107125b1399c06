"""Calls of the Linux kernel that Python has no functions for."""

import ctypes
import os
import platform

# Numbers of system calls that are the same on every architecture of Linux.
MOUNT_SETATTR = 442
LANDLOCK_CREATE_RULESET = 444
LANDLOCK_ADD_RULE = 445
LANDLOCK_RESTRICT_SELF = 446

# Of prctl.
SET_PDEATHSIG = 1
SET_DUMPABLE = 4
SET_SECCOMP = 22
SET_NO_NEW_PRIVS = 38

_LIBC = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: object) -> int:
  """What a system call returns.

  Raises:
    OSError: it failed.
  """
  return _checked(_LIBC.syscall(number, *map(_long, arguments)), number)


def _long(value: object) -> object:
  return ctypes.c_long(value) if isinstance(value, int) else value


def call(name: str, *arguments: object) -> int:
  """What a function of the C library returns, which sets errno.

  Raises:
    OSError: it failed, or the library lacks it.
  """
  function = getattr(_LIBC, name, None)
  if function is None:
    raise OSError(38, f"the C library has no {name}")
  return _checked(function(*arguments), name)


def _checked(result: int, what: object) -> int:
  if result < 0:
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")
  return result


def prctl(option: int, *arguments: object) -> int:
  """What prctl returns. Raises OSError if it failed."""
  rest = [*arguments, *[0] * (4 - len(arguments))]
  return call("prctl", ctypes.c_int(option), *map(_long, rest))


def drop_capabilities() -> None:
  """Gives up every capability, for good. Raises OSError."""

  class Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

  header = Header(0x20080522, 0)
  none = (ctypes.c_uint32 * 6)()
  call("capset", ctypes.byref(header), none)


def machine() -> str:
  """The architecture, as the kernel spells it."""
  return platform.machine()
