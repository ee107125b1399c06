"""CSRS: one verified bit per trajectory decides what its steps may teach."""

KINDS = (
  "progress",
  "state summary",
  "effect prediction",
  "self-reflection",
  "state verification",
  "intent",
  "action prediction",
)


def kept(success: bool) -> tuple[str, ...]:
  """The kinds of step supervision that a trajectory gives.

  All of `KINDS` where it was verified to have succeeded; of one that failed
  everything but its actions, which are what went wrong.

  Source: Step-GUI 2025, arXiv:2512.15431. [paper]
  """
  return KINDS if success else KINDS[:-1]
