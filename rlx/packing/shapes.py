"""The few shapes that packs have, and what each costs."""

from typing import NamedTuple

from rlx import microbatches


class Shape(NamedTuple):
  """The static shape of a micro-batch of packs.

  Attributes:
    packs: how many.
    trunk: columns that all rows of a pack begin with.
    blocks: of a pack; 1 without a trunk.
    block: columns of each.
    rows: of the batch that a pack may hold.
    targets: pairs of a column and a token that is predicted from it, of a pack.
  """

  packs: int
  trunk: int
  blocks: int
  block: int
  rows: int
  targets: int

  @property
  def columns(self) -> int:
    """Of a pack."""
    return self.trunk + self.blocks * self.block

  @property
  def layout(self) -> tuple[int, int, int] | None:
    """As `rlx.policy.Policy.apply` wants it."""
    return (self.trunk, self.blocks, self.block) if self.trunk else None


class Shapes(NamedTuple):
  """Every shape of a learner; each is compiled once.

  Attributes:
    rows: one block that holds any row of the batch.
    tree: one block for rows of several groups or trees; None where it would be
      no larger.
    groups: a trunk and blocks for the rows of a group, shortest blocks first.
    width: of the features, for `cost`.
  """

  rows: Shape
  tree: Shape | None
  groups: tuple[Shape, ...]
  width: int

  @property
  def all(self) -> tuple[Shape, ...]:
    """All of them, the likeliest last."""
    tree = () if self.tree is None else (self.tree,)
    return (self.rows, *tree, *self.groups)


def make(
  length: int,
  rows: int,
  tokens: int,
  parts: int,
  *,
  prompt: int = 0,
  group: int = 1,
  group_tokens: int = 0,
  chosen: int = 0,
  width: int = 256,
) -> Shapes:
  """Returns the shapes for a batch of `rows` rows of at most `length` tokens.

  Args:
    tokens: columns of one micro-batch, at most, but for a pack a device; 0 for
      the whole batch in one.
    parts: number of devices that packs are split over.
    prompt: tokens of the longest prompt that `group` rows share. What they
      share beyond is found, and sharing less costs only speed.
    group_tokens: columns of a pack of one group, at most, where that is more
      than `tokens`.
    chosen: most tokens that the policy chose in one row; 0 for any number.
    width: of the features.
  """
  chosen = min(chosen or length, length)
  longest = _even(max(length - 1, 1))

  def shape(count, trunk, blocks, block, targets, most):
    columns = trunk + blocks * block
    packs = microbatches.fit(count, columns, tokens, parts)
    each = min(most, rows)
    return Shape(
      packs, trunk, blocks, block, each, min(targets, columns + each)
    )

  groups: list[Shape] = []
  trunk, tail = _even(prompt), _even(max(length - 1 - prompt, 1))
  # As many blocks as there is room for, and packs of a group alike.
  most = max(tokens, group_tokens)
  room = (most - trunk) // tail if tokens else group
  if prompt > 0 and min(group, room) > 1:
    blocks = -(-group // -(-group // room))
    half = _even(-(-tail // 2))
    groups = [
      shape(-(-rows // blocks), trunk, blocks, x, blocks * chosen, 2 * blocks)
      for x in (sorted({half, tail}) if tail >= 64 else [tail])
    ]
  # Few rows have less than eight columns of their own.
  several = lambda columns: max(columns // 8, 2)
  room = min(tokens or 2048, 4 * longest)
  tree = None
  if room > longest:
    times = -(-room // longest)
    packs = max(rows // times, 1)
    tree = shape(packs, 0, 1, room, times * chosen, several(room))
  whole = shape(rows, 0, 1, longest, chosen, several(longest))
  return Shapes(whole, tree, tuple(groups), width)


def cost(shape: Shape, width: int) -> float:
  """Returns what a micro-batch of this shape takes, in tokens of a short row.

  A layer's products with weights are about 24 width² operations a token, those
  with a key 4 width.
  """
  keys = 1 / (6 * width)
  trunk = shape.trunk * (1 + keys * shape.trunk / 2)
  seen = shape.block + shape.trunk if shape.trunk else shape.block / 2
  below = shape.blocks * shape.block * (1 + keys * seen)
  return shape.packs * (trunk + below)


def _even(columns: int) -> int:
  """Rounded up to what vectors have, where that is little."""
  return columns if columns < 32 else -(-columns // 8) * 8
