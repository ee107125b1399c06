"""Going on from what was read already: it is never told from reading it again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import compiles, sharding
from rlx.rollout import engine, forks, layout, pages, sampling
from rlx.rollout import memory as memories
from tests import tiny

KEY = jax.random.key(3)
MODEL = tiny.decoder(vocab_size=tiny.VOCAB)
PARAMS = tiny.params(MODEL)
SIZE = 4
LONG = 33  # Tokens of a sequence: a prompt of up to nine and 24 behind it.
SHAPE = engine.Shape(4, 2, 9, 0, 24, 1)
FORK = engine.Shape(8, 2, LONG, 0, 3, 1)
SETTINGS = {"sampler": sampling.Sampling(), "stop_ids": ()}
PROMPTS = [[3, 5, 4], [3, 6, 6, 5, 5, 6, 5, 6, 4], [3, 5, 6, 4], [3, 5, 6, 6]]


def make_memory(num_pages=200, mesh=None):
  return memories.Memory(
    MODEL,
    length=LONG,
    size=SIZE,
    num_pages=num_pages,
    rows=2,
    mesh=mesh or tiny.one_device(),
  )


def make_forks(memory, mesh=None, shape=FORK, model=MODEL):
  mesh = mesh or tiny.one_device()
  return forks.make_engine(model, shape, memory, mesh=mesh, **SETTINGS)


def pad(rows, width):
  out = np.zeros((len(rows), width), np.int32)
  for place, row in enumerate(rows):
    out[place, : len(row)] = row
  return out, np.array([len(row) for row in rows], np.int32)


@pytest.fixture(scope="module")
def made():
  """A memory, what samples and keeps, what forks, and what reads again."""
  memory = make_memory()
  whole = engine.make_engine(
    MODEL, SHAPE, mesh=tiny.one_device(), memory=memory, **SETTINGS
  )
  again = engine.make_engine(MODEL, FORK, mesh=tiny.one_device(), **SETTINGS)
  return memory, whole, make_forks(memory), again


def sample(memory, whole, params=PARAMS):
  """What was sampled, [8, LONG] and lengths, and kept."""
  memory.forget()
  tokens, length = pad(PROMPTS, SHAPE.prompt_tokens)
  ids = np.arange(4, dtype=np.int32)
  decoded, kept = whole.first(params, KEY, ids, tokens, length)
  new = np.asarray(decoded.tokens)
  rows = [[*PROMPTS[row // 2], *new[row]] for row in range(8)]
  tokens, length = pad(rows, LONG)
  whole.keep(params, kept, tokens, length, np.arange(8))
  return tokens, length


def go_on(fork, tokens, length, cuts, params=PARAMS):
  """What is drawn behind cuts, padded to eight as `bind` does."""
  cuts = [*cuts, *[cuts[0]] * (FORK.num_prompts - len(cuts))]
  rows, ends = np.array(cuts).T
  ids = np.array([row * 100 + end for row, end in cuts], np.int32)
  inside = np.arange(LONG)[None] < ends[:, None]
  kept = np.where(inside, tokens[rows], 0).astype(np.int32)
  decoded, kept = fork.first(params, KEY, ids, kept, ends.astype(np.int32))
  return jax.device_get(decoded), kept


def check(one, other):
  np.testing.assert_array_equal(one.tokens, other.tokens)
  np.testing.assert_array_equal(one.length, other.length)
  np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-5)


# Behind the prompt, in pages, on their borders and at the end.
ONE = [(1, n) for n in (9, 10, 12, 13, 16, 17, 32, 33)]
MANY = [(0, 3), (0, 27), (1, 33), (2, 8), (3, 17), (4, 20), (6, 5), (7, 28)]


@pytest.mark.parametrize("cuts", [ONE, MANY], ids=["one", "many"])
def test_any_cut_is_as_if_all_of_it_was_read_again(made, cuts):
  memory, whole, fork, again = made
  tokens, length = sample(memory, whole)
  cuts = [(row, min(n, int(length[row]))) for row, n in cuts]
  found, _ = go_on(fork, tokens, length, cuts)
  check(found, go_on(again, tokens, length, cuts)[0])
  # And none of it was.
  assert memory.filled == 0
  # What is drawn from one place differs.
  assert (found.tokens[::2] != found.tokens[1::2]).any()


def test_what_is_drawn_has_the_log_probs_of_the_trainer(made):
  memory, whole, fork, _ = made
  tokens, length = sample(memory, whole)
  found, _ = go_on(fork, tokens, length, [(row, 11) for row in range(8)])
  rows = [[*tokens[k // 2, :11], *found.tokens[k]] for k in range(16)]
  full, ends = pad(rows, 14)
  index = jnp.broadcast_to(jnp.arange(14), full.shape)
  hidden = MODEL.apply(
    PARAMS, jnp.asarray(full), index, jnp.ones(full.shape, jnp.int32)
  )
  log_probs = jax.nn.log_softmax(MODEL.logits(PARAMS, hidden))
  want = np.take_along_axis(
    np.asarray(log_probs)[:, 10:13], full[:, 11:, None], 2
  )
  assert (ends == 14).all()
  np.testing.assert_allclose(found.raw_log_probs, want[..., 0], atol=1e-5)


def test_a_group_shares_its_prompt_and_a_row_copies_one_page(made):
  memory, whole, _, _ = made
  tokens, length = sample(memory, whole)
  want = sum(pages.needed(len(p), SIZE) for p in PROMPTS)
  behind = [
    pages.needed(int(n) - 1, SIZE) - len(PROMPTS[row // 2]) // SIZE
    for row, n in enumerate(length)
  ]
  assert tokens.shape == (8, LONG)
  assert len(memory.index) <= want + sum(behind)
  assert memory.index.pages.peak <= want + sum(behind) + 1


@pytest.mark.parametrize("num_pages", [10, 17])
def test_what_made_room_is_read_again(made, num_pages):
  """Pages for one sequence, or for less than two: in parts, and never wrong."""
  memory, whole, _, again = made
  tokens, length = sample(memory, whole)
  small = make_memory(num_pages)
  small.pool._do = memory.pool._do
  fork = make_forks(small)
  for cuts in (MANY, MANY[::-1]):
    cuts = [(row, min(n, int(length[row]))) for row, n in cuts]
    found, _ = go_on(fork, tokens, length, cuts)
    check(found, go_on(again, tokens, length, cuts)[0])
  assert small.filled > 0
  assert pages.num_held(small.index.pages) <= num_pages + 1


def test_other_parameters_find_nothing(made):
  memory, whole, fork, again = made
  tokens, length = sample(memory, whole)
  other = tiny.params(MODEL, seed=5)
  cuts = [(row, 20) for row in range(8)]
  before = memory.filled
  found, _ = go_on(fork, tokens, length, cuts, other)
  want = go_on(again, tokens, length, cuts, other)[0]
  check(found, want)
  assert memory.filled > before
  mine = go_on(again, tokens, length, cuts)[0]
  assert (mine.tokens != want.tokens).any()


def test_what_is_edited_is_read_from_where_it_differs(made):
  memory, whole, fork, again = made
  tokens, length = sample(memory, whole)
  edited = tokens.copy()
  edited[:, 15] = np.where(tokens[:, 15] == 5, 6, 5)
  before = memory.filled
  cuts = [(row, 19) for row in range(8)]
  found, _ = go_on(fork, edited, length, cuts)
  check(found, go_on(again, edited, length, cuts)[0])
  # Of 18 tokens those from the 15th on, for each of eight rows.
  assert 0 < memory.filled - before <= 8 * 3


def test_what_is_in_free_pages_does_not_matter(made):
  memory, whole, fork, again = made
  tokens, length = sample(memory, whole)
  free = memory.index.pages.refs == 0
  assert free.any()
  memory.pool.data = jax.tree.map(
    lambda x: jnp.where(free.reshape(-1, *[1] * (x.ndim - 1)), jnp.nan, x),
    memory.pool.data,
  )
  for cuts in (ONE, MANY):
    cuts = [(row, min(n, int(length[row]))) for row, n in cuts]
    found, _ = go_on(fork, tokens, length, cuts)
    check(found, go_on(again, tokens, length, cuts)[0])


def test_ragged_cuts_compile_nothing_more(made):
  memory, whole, fork, _ = made
  tokens, length = sample(memory, whole)
  rng = np.random.default_rng(0)

  def cuts():
    ends = rng.integers(9, length + 1)
    return [(row, int(ends[row])) for row in rng.permutation(8)]

  go_on(fork, tokens, length, cuts())
  with compiles.count() as counted:
    for _ in range(5):
      go_on(fork, tokens, length, cuts())
  assert counted.num == 0


def test_a_mesh_changes_nothing(made):
  memory, whole, _, again = made
  tokens, length = sample(memory, whole)
  mesh = sharding.make_mesh(sharding.MeshConfig(data=4, fsdp=2))
  fork = make_forks(make_memory(mesh=mesh), mesh)
  cuts = [(row, min(n, int(length[row]))) for row, n in MANY]
  found, _ = go_on(fork, tokens, length, cuts)
  want = go_on(again, tokens, length, cuts)[0]
  np.testing.assert_array_equal(found.tokens, want.tokens)
  np.testing.assert_allclose(found.log_probs, want.log_probs, atol=1e-5)


def test_prompts_that_begin_another_share_its_trunk():
  rows = [np.array(x) for x in ([1, 2], [1, 2, 3, 4], [5], [1, 2, 3], [1])]
  found = layout.arrange(rows, 2, 4, 0)
  assert found is not None
  # Each trunk's first has all of its others as prefixes.
  assert (found.num, found.trunks) == (2, [[2], [1, 3, 0, 4]])
  np.testing.assert_array_equal(found.cut, [len(x) - 1 for x in rows])
  # All on one would not be prefixes of one sequence.
  assert layout.arrange(rows, 2, 8, 0) is None
  # Two to a trunk, these are five trunks, and there is room for three.
  assert layout.arrange([np.array([k, k]) for k in range(5)], 2, 2, 0) is None


def test_prompts_that_fork_have_the_rest_in_pages_of_their_own():
  rows = [np.array([*range(9), *behind]) for behind in ([9, 9], [8, 8, 8], [7])]
  found = layout.arrange(rows, 4, 8, 1)
  assert found is not None
  assert found.trunks == [[0, 1, 2]]
  # They have nine tokens in common, of which two pages are whole; the last
  # token of each is read anyway.
  np.testing.assert_array_equal(found.cut, [10, 8, 9])
  other = [*rows, np.arange(9)[::-1]]
  assert layout.arrange(other, 4, 8, 1) is None
  found = layout.arrange(other, 4, 3, 1)
  assert found is not None
  assert found.trunks == [[3], [0, 1, 2]]


def test_one_sequence_must_find_room():
  with pytest.raises(ValueError, match=r"kv_pages=9: 10 pages of 4 tokens are"):
    make_memory(9)


def test_turns_go_on_behind_a_fork_while_others_wait():
  rng = np.random.default_rng(1)
  shape = engine.Shape(8, 1, LONG, 3, 2, 2)
  fork = make_forks(make_memory(), shape=shape)
  nobody, ids = np.zeros(8, np.int32), np.arange(8, dtype=np.int32)
  tokens, length = pad([rng.integers(3, 7, n) for n in range(9, 17)], LONG)
  first, state = fork.first(PARAMS, KEY, ids, tokens, length)
  paths = [
    [*tokens[row, : length[row]], *np.asarray(first.tokens)[row]]
    for row in range(8)
  ]
  said = np.array([[path[-1], 5, 4, 0] for path in paths], np.int32)
  start = length + 1
  found = []
  for turn in range(2):  # Half of the rows wait for the others.
    live = ids % 2 == turn
    told = (ids, nobody, said, start, np.full(8, 3, np.int32), live)
    decoded, state = fork.turn(
      PARAMS, KEY, state, *told, window=shape.window(1)
    )
    found.append(np.asarray(decoded.tokens))
    assert not found[-1][~live].any()
  for row, path in enumerate(paths):
    path += [5, 4, *found[row % 2][row]]
  whole, _ = pad(paths, LONG)
  again = engine.make_engine(
    MODEL, shape._replace(turns=1), mesh=tiny.one_device(), **SETTINGS
  )
  want, _ = again.first(PARAMS, KEY, ids, whole, length + 4)
  answers = [path[-2:] for path in paths]
  np.testing.assert_array_equal(np.asarray(want.tokens), answers)


LENGTHS = (25, 60, 150, 290, 330, 450, 590)


def test_prefixes_of_any_length_compile_nothing_after_the_first():
  long, model = 600, tiny.policy()
  params = {"table": jax.random.normal(KEY, (tiny.WIDTH, tiny.VOCAB))}
  shape = engine.Shape(8, 2, long, 0, 3, 1)
  memory = memories.Memory(
    model, length=long, size=16, num_pages=600, rows=8, mesh=tiny.one_device()
  )
  fork = make_forks(memory, shape=shape, model=model)
  rng, ids = np.random.default_rng(0), np.arange(8, dtype=np.int32)
  text = rng.integers(3, 7, (8, long)).astype(np.int32)

  def go_on(ends):
    inside = np.arange(long)[None] < ends[:, None]
    tokens = np.where(inside, text, 0).astype(np.int32)
    decoded, kept = fork.first(params, KEY, ids, tokens, ends)
    rows = [
      [*tokens[row // 2, : ends[row // 2]], *np.asarray(new)]
      for row, new in enumerate(decoded.tokens)
    ]
    assert fork.keep is not None
    fork.keep(params, kept, *pad(rows, long + 3), np.arange(16))

  go_on(np.full(8, 450, np.int32))
  with compiles.count() as counted:
    for end in LENGTHS:
      go_on(rng.integers(end - 5, end + 5, 8).astype(np.int32))
  assert memory.filled > 0
  assert counted.num == 0


def test_the_pool_doubles_when_what_is_kept_needs_it():
  model, length = tiny.policy(), 40
  params = {"table": jnp.zeros((tiny.WIDTH, tiny.VOCAB))}
  memory = memories.Memory(
    model,
    length=length,
    size=1,
    num_pages=1023,
    rows=1,
    mesh=tiny.one_device(),
    grows=True,
  )
  rng = np.random.default_rng(0)
  texts = [rng.integers(3, 7, length).astype(np.int32) for _ in range(10)]
  sizes = []

  def load(text):
    table = lambda ready: [layout_table(ready[0])]
    (found,) = memory.load(params, [text], table)
    np.testing.assert_array_equal(
      np.asarray(found)[0, :length], jax.nn.one_hot(text, tiny.VOCAB)
    )
    sizes.append(memory.pool.pages)

  def layout_table(ids):
    return memories.Table(ids[None].astype(np.int32), np.ones(1, bool))

  for text in texts:
    load(text)
  assert sizes == [128] * 3 + [256] * 3 + [512] * 4
  # What is there came along.
  filled = memory.filled
  load(texts[0])
  assert memory.filled == filled
  memory.forget()
  assert memory.pool.data is None
  load(texts[0])
  # As what it had was needed.
  assert memory.pool.pages == 512


def test_what_failed_to_be_written_is_not_found():
  memory = make_memory()
  ids = np.arange(3, 3 + 8, dtype=np.int32) % tiny.VOCAB
  fails = lambda *_: (_ for _ in ()).throw(MemoryError("no room"))
  memory.pool._do = memory.pool._do._replace(store=fails, init=lambda _: {})
  kept = engine.Kept({}, {}, jnp.zeros(1, jnp.int32))
  with pytest.raises(MemoryError):
    memory.keep(PARAMS, kept, np.arange(1), [ids], 4)
  assert memory.index.find(ids).length == 0
  fails_too = lambda *_, **__: fails()
  memory.pool._do = memory.pool._do._replace(fill=fails_too)
  with pytest.raises(MemoryError):
    memory.load(PARAMS, [ids], lambda _: [])
  assert memory.index.find(ids).length == 0
