"""The Python tool: a policy's code in a sandbox."""

from rlx.tools import tool as tools
from rlx.tools.sandbox import run


def python(
  *,
  timeout: float = 5.0,
  memory: int = 512,
  folder: int = 16,
  output: int = 8192,
  packages: tuple[str, ...] = (),
  unprotected: bool = False,
) -> tools.Tool:
  """A tool `python(code)`, which runs code in a fresh, shut-in interpreter.

  What code writes is its answer, and the value of a last line that is an
  expression; then an error, if there was one. See `sandbox.run.Sandbox` for
  what keeps code in, and where that cannot be had.

  Args:
    timeout: seconds that code may take.
    memory: MiB of address space.
    folder: MiB that its folder holds.
    output: bytes of output.
    packages: directories that can be imported from, beside the standard
      library: a site-packages with NumPy, say.
    unprotected: run even where code cannot be kept in. Only for code that you
      would run yourself.

  Raises:
    RuntimeError: this machine cannot keep code in, and that is not allowed.
  """
  sandbox = run.Sandbox(
    timeout=timeout,
    cpu=timeout,
    memory=memory,
    folder=folder,
    output=output,
    packages=packages,
    unprotected=unprotected,
  )
  run.check(sandbox)

  def python(code: str) -> tools.Result:
    """Runs Python code in a fresh interpreter and returns what it prints.

    Args:
      code: the program. A last line that is an expression is printed too.
    """
    outcome = sandbox.run(code)
    return tools.Result(outcome.text, error=outcome.error is not None)

  return tools.make(python)
