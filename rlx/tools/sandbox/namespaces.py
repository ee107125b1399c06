"""Namespaces: a world without network, other processes or the host's files."""

import contextlib
import ctypes
import os
from collections.abc import Sequence

from rlx.tools.sandbox import kernel

_NEW_MOUNTS, _NEW_HOSTNAME, _NEW_IPC = 0x20000, 0x4000000, 0x8000000
_NEW_USER, _NEW_PIDS, _NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
_ALL = _NEW_MOUNTS | _NEW_HOSTNAME | _NEW_IPC | _NEW_PIDS | _NEW_NETWORK

_NO_SETUID, _NO_DEVICES, _NO_EXECUTE = (
  2,
  4,
  8,
)  # Of mount; and of its attributes.
_BIND, _RECURSIVE, _PRIVATE, _DETACH = 4096, 16384, 1 << 18, 2
_READ_ONLY = 1

FOLDER = "/box"  # Where the one writable folder is in the new world.
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")

# Users that nobody is, for root to become one of: one a sandbox.
_FIRST_USER, _USERS = 1_879_048_192, 200_000_000


def unshare() -> str:
  """Leaves the host's world: "root" or "user" says by which right.

  Processes that are forked from now on are in a process namespace of their own.

  Raises:
    OSError: neither is permitted.
  """
  if os.geteuid() == 0:
    with contextlib.suppress(OSError):
      kernel.call("unshare", _ALL)
      return "root"
  user, group = os.geteuid(), os.getegid()
  kernel.call("unshare", _ALL | _NEW_USER)
  for name, text in (
    ("setgroups", "deny"),
    ("uid_map", f"{user} {user} 1"),
    ("gid_map", f"{group} {group} 1"),
  ):
    with open(f"/proc/self/{name}", "w") as file:
      file.write(text)
  return "user"


def enter(
  place: str, readable: Sequence[str], size: int, how: str
) -> tuple[int, int]:
  """Makes a root directory of nothing but these paths; returns user and group.

  Runs in the first process of the namespaces. `FOLDER` is there too, in memory,
  writable and bounded. All else is read-only, and gone with the namespace.

  Args:
    place: an empty directory, over which the new root is mounted.
    readable: files and directories of the host.
    size: bytes that the folder holds.
    how: what `unshare` returned.

  Raises:
    OSError: a mount is not permitted.
  """
  user, group = os.geteuid(), os.getegid()
  if how == "root":
    user = group = _nobody(os.stat(place).st_ino)
  _mount(None, "/", None, _RECURSIVE | _PRIVATE)
  flags = _NO_SETUID | _NO_DEVICES
  _mount("rlx", place, "tmpfs", flags, "mode=755,size=64k,nr_inodes=512")
  for path in (*readable, *DEVICES):
    _show(path, place)
  folder = place + FOLDER
  os.mkdir(folder)
  owner = f"uid={user},gid={group}," if how == "root" else ""
  options = f"{owner}mode=700,size={size},nr_inodes=1024"
  _mount("rlx", folder, "tmpfs", flags, options)
  os.chdir(place)
  kernel.call("pivot_root", b".", b".")
  kernel.call("umount2", b".", _DETACH)
  os.chdir("/")
  _protect("/", recursive=False)
  os.chdir(FOLDER)
  return user, group


def _nobody(number: int) -> int:
  """A user of this sandbox alone, or the host's nobody where there is none."""
  wanted = _FIRST_USER + number % _USERS
  for name in ("uid_map", "gid_map"):
    with open(f"/proc/self/{name}") as file:
      rows = [tuple(map(int, line.split())) for line in file]
    if not any(first <= wanted < first + count for first, _, count in rows):
      return 65534
  return wanted


def _show(path: str, place: str) -> None:
  """Mounts a path of the host at the same path of the new root, read-only."""
  target = place + path
  if os.path.lexists(target) or not os.path.lexists(path):
    return
  os.makedirs(os.path.dirname(target), exist_ok=True)
  if os.path.islink(path):
    os.symlink(os.readlink(path), target)
    _show(os.path.realpath(path), place)
    return
  if os.path.isdir(path):
    os.mkdir(target)
  else:
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
  _mount(path, target, None, _BIND | _RECURSIVE)
  _protect(target, recursive=True, devices=path in DEVICES)


def _mount(
  source: str | None,
  target: str,
  kind: str | None,
  flags: int,
  options: str | None = None,
) -> None:
  texts = [x and x.encode() for x in (source, target, kind, options)]
  kernel.call("mount", *texts[:3], ctypes.c_ulong(flags), texts[3])


def _protect(path: str, *, recursive: bool, devices: bool = False) -> None:
  """Makes a mount read-only, with what is mounted beneath it."""
  flags = _READ_ONLY | _NO_SETUID | (0 if devices else _NO_DEVICES)
  attributes = (ctypes.c_uint64 * 4)(flags, 0, 0, 0)
  kernel.syscall(
    kernel.MOUNT_SETATTR,
    -100,
    ctypes.c_char_p(path.encode()),
    0x8000 if recursive else 0,
    ctypes.byref(attributes),
    32,
  )


def become(user: int, group: int) -> None:
  """Gives up being root where it was root that came here. Raises OSError."""
  if os.geteuid() != user:
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
