"""What is an extra says so, and nothing else fails for it."""

import importlib
import sys

import pytest

from rlx.envs import alfworld, extras, reasoning_gym, textworld


@pytest.fixture
def without(monkeypatch):
  """Makes packages be missing."""

  def hide(*names):
    for name in names:
      for loaded in [x for x in sys.modules if x.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)
      # Python takes None for a module that there is not.
      monkeypatch.setitem(sys.modules, name, None)

  return hide


@pytest.mark.parametrize(
  ("package", "extra", "ask"),
  [
    ("reasoning_gym", "reasoning-gym", reasoning_gym.problems),
    (
      "textworld",
      "textworld",
      lambda: (
        textworld.TextWorld(directory="nowhere").episode(0, "test").reset(0)
      ),
    ),
    (
      "textworld",
      "alfworld",
      lambda: alfworld.AlfWorld().episode(0, "test").reset(0),
    ),
  ],
)
def test_a_package_that_is_missing_is_one_message(package, extra, ask, without):
  without(package)
  with pytest.raises(
    ValueError,
    match=rf"{package} is not installed: pip install 'rlx\[{extra}\]'",
  ):
    ask()


def test_a_package_that_lacks_one_of_its_own_says_so_itself(
  tmp_path, monkeypatch
):
  (tmp_path / "half_there.py").write_text("import surely_not_there")
  monkeypatch.syspath_prepend(tmp_path)
  importlib.invalidate_caches()
  with pytest.raises(ModuleNotFoundError, match="surely_not_there"):
    extras.load("half_there", "half")
  assert extras.installed("half_there")
  assert not extras.installed("surely_not_there")
