"""The few options that are not fields of an experiment."""


def take(args: list[str], name: str) -> tuple[str | None, list[str]]:
  """Returns the value of `--name VALUE` or `--name=VALUE`, and what is left.

  Raises:
    ValueError: the option has no value.
  """
  for i, arg in enumerate(args):
    if arg.startswith(f"{name}="):
      return arg.partition("=")[2], args[:i] + args[i + 1 :]
    if arg == name:
      if i + 1 == len(args):
        raise ValueError(f"{name} needs a value")
      return args[i + 1], args[:i] + args[i + 2 :]
  return None, args


def take_all(args: list[str], name: str) -> tuple[list[str], list[str]]:
  """`take` of an option that may be repeated: all its values, and the rest."""
  found = []
  while True:
    value, args = take(args, name)
    if value is None:
      return found, args
    found.append(value)


def take_flag(args: list[str], name: str) -> tuple[bool, list[str]]:
  """Returns whether the flag is there, and what is left."""
  return name in args, [arg for arg in args if arg != name]


def integer(
  text: str | None, name: str, default: int, *, least: int | None = None
) -> int:
  """Returns the number, or the default where there is none.

  Raises:
    ValueError: it is no whole number, or less than `least`.
  """
  if text is None:
    return default
  try:
    number = int(text)
  except ValueError:
    raise ValueError(f"{name}={text!r}: must be a whole number") from None
  if least is not None and number < least:
    raise ValueError(f"{name}={number}: must be {least} or more")
  return number


def refuse(args: list[str], usage: str) -> None:
  """Refuses whatever is left.

  Raises:
    ValueError: naming it, with the usage.
  """
  if args:
    raise ValueError(f"unknown argument {args[0]!r}\n{usage}")
