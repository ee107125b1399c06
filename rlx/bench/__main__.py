"""`python -m rlx.bench`: `rlx bench` where the command is not on the path."""

import sys

from rlx import cli

if __name__ == "__main__":
  sys.exit(cli.run(["bench", *sys.argv[1:]]))
