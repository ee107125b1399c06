"""A filter of system calls: no sockets, no new processes, nobody else touched.

It stays with the process and all its threads, and cannot be taken off. It is a
list of what is refused: what reads, writes and computes is left to landlock and
to the limits.
"""

import ctypes
import os
import struct

from rlx.tools.sandbox import kernel

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Refused whatever their arguments are. (x86_64, aarch64); -1: not there.
_REFUSED: dict[str, tuple[int, int]] = {
  # New processes; `clone` makes threads too and is looked at below.
  "fork": (57, -1),
  "vfork": (58, -1),
  "execve": (59, 221),
  "execveat": (322, 281),
  # Leaving the process group, which is what is killed.
  "setsid": (112, 157),
  "setpgid": (109, 154),
  # The network; io_uring opens sockets of its own.
  "socket": (41, 198),
  "io_uring_setup": (425, 425),
  # Other processes of the same user.
  "ptrace": (101, 117),
  "process_vm_readv": (310, 270),
  "process_vm_writev": (311, 271),
  "kcmp": (312, 272),
  "tkill": (200, 130),
  "rt_sigqueueinfo": (129, 138),
  "rt_tgsigqueueinfo": (297, 240),
  "pidfd_send_signal": (424, 424),
  "pidfd_open": (434, 434),
  "pidfd_getfd": (438, 438),
  "setpriority": (141, 140),
  # Memory that no limit counts.
  "memfd_create": (319, 279),
  "memfd_secret": (447, 447),
  "shmget": (29, 194),
  "semget": (64, 190),
  "msgget": (68, 186),
  # Parts of the kernel that a program of a policy has no use for.
  "mount": (165, 40),
  "umount2": (166, 39),
  "pivot_root": (155, 41),
  "chroot": (161, 51),
  "unshare": (272, 97),
  "setns": (308, 268),
  "fsopen": (430, 430),
  "fsmount": (432, 432),
  "move_mount": (429, 429),
  "open_tree": (428, 428),
  "mount_setattr": (442, 442),
  "bpf": (321, 280),
  "userfaultfd": (323, 282),
  "perf_event_open": (298, 241),
  "keyctl": (250, 219),
  "add_key": (248, 217),
  "request_key": (249, 218),
  "personality": (135, 92),
}
# Refused too where landlock alone keeps files, as it does not look at these.
_OF_FILES: dict[str, tuple[int, int]] = {
  "truncate": (76, 45),
  "chmod": (90, -1),
  "fchmod": (91, 52),
  "fchmodat": (268, 53),
  "fchmodat2": (452, 452),
  "chown": (92, -1),
  "fchown": (93, 55),
  "lchown": (94, -1),
  "fchownat": (260, 54),
  "setxattr": (188, 5),
  "lsetxattr": (189, 6),
  "fsetxattr": (190, 7),
  "setxattrat": (463, 463),
  "removexattr": (197, 14),
  "lremovexattr": (198, 15),
  "fremovexattr": (199, 16),
  "utime": (132, -1),
  "utimes": (235, -1),
  "futimesat": (261, -1),
  "utimensat": (280, 88),
}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_KILL = {"x86_64": 62, "aarch64": 129}
_TGKILL = {"x86_64": 234, "aarch64": 131}
_PRLIMIT = {"x86_64": 302, "aarch64": 261}
_PRCTL = {"x86_64": 157, "aarch64": 167}

_CLONE_THREAD = 0x10000
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | 1  # EPERM
_MISSING = 0x00050000 | 38  # ENOSYS, so that libc falls back to `clone`.
_KILL_PROCESS = 0x80000000

# Instructions: load a word of the call's description; jump; return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4


def _argument_at(index: int) -> int:
  return 16 + 8 * index  # The low half: both architectures are little-endian.


def supported() -> bool:
  """Whether there is a filter for this architecture."""
  return kernel.machine() in _AUDIT


def program(
  machine: str, pid: int, files: bool
) -> list[tuple[int, int, int, int]]:
  """The filter's instructions `(code, jump if true, if false, operand)`.

  Args:
    machine: of `supported` ones.
    pid: the one process to which signals may be sent, and limits set.
    files: refuse changes of what files are, their owners and dates.
  """
  column = 0 if machine == "x86_64" else 1
  ret = lambda value: (_RETURN, 0, 0, value)
  lines = [
    (_LOAD, 0, 0, _ARCHITECTURE_AT),
    (_EQUAL, 1, 0, _AUDIT[machine]),
    ret(_KILL_PROCESS),
    (_LOAD, 0, 0, _NUMBER_AT),
  ]
  if machine == "x86_64":  # The x32 calls have numbers from here on.
    lines += [(_AT_LEAST, 0, 1, 0x40000000), ret(_REFUSE)]
  lines += [(_EQUAL, 0, 1, _CLONE3), ret(_MISSING)]
  refused = _REFUSED | _OF_FILES if files else _REFUSED
  for numbers in refused.values():
    number = numbers[column]
    if number >= 0:
      lines += [(_EQUAL, 0, 1, number), ret(_REFUSE)]
  first = lambda test, operand, good, bad: [
    (_LOAD, 0, 0, _argument_at(0)),
    (test, 0, 1, operand),
    ret(good),
    ret(bad),
  ]
  guarded = {
    _CLONE[machine]: first(_ANY_BIT, _CLONE_THREAD, _ALLOW, _REFUSE),
    _KILL[machine]: first(_EQUAL, pid, _ALLOW, _REFUSE),
    _TGKILL[machine]: first(_EQUAL, pid, _ALLOW, _REFUSE),
    _PRCTL[machine]: first(_EQUAL, kernel.SET_PDEATHSIG, _REFUSE, _ALLOW),
    _PRLIMIT[machine]: [
      (_LOAD, 0, 0, _argument_at(0)),
      (_EQUAL, 1, 0, 0),
      (_EQUAL, 0, 1, pid),
      ret(_ALLOW),
      ret(_REFUSE),
    ],
  }
  for number, body in guarded.items():
    lines += [(_EQUAL, 0, len(body), number), *body]
  return [*lines, ret(_ALLOW)]


def install(*, files: bool) -> None:
  """Puts the filter on this process; there must be no other thread yet.

  Args:
    files: see `program`.

  Raises:
    OSError: the kernel refuses, or there is none for this architecture.
  """
  if not supported():
    raise OSError(38, f"no filter for {kernel.machine()}")
  lines = program(kernel.machine(), os.getpid(), files)
  code = b"".join(struct.pack("HBBI", *line) for line in lines)
  kept = ctypes.create_string_buffer(code, len(code))

  class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

  whole = Program(len(lines), ctypes.addressof(kept))
  kernel.prctl(kernel.SET_SECCOMP, 2, ctypes.addressof(whole))
