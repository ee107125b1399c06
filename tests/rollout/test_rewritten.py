"""Episodes whose chat template takes past reasoning out: each turn is recorded
in the context that it was drawn in, and the step table does not notice."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import experiment, recipes, rollouts
from rlx import tokenizer as tokenizers
from rlx.credit import tokens as spreads
from rlx.objective import log_probs
from rlx.rollout import config, episodes, played, refill, rewritten, summary
from rlx.view import episode as views
from tests import tiny

TURNS, ROWS = 4, 8
SHAPE = tiny.shape(turns=TURNS, num_prompts=2, turn_tokens=8, action_tokens=4)
# As Qwen3's: all turns but the last lose what stands before </think>.
STRIPS = (
  "{% for m in messages %}{% set c = m['content'] %}"
  "{% if m['role'] == 'assistant' and not loop.last and '</think>' in c %}"
  "{% set c = c.split('</think>')[-1] %}{% endif %}"
  "{{ '<' + m['role'] + '>' + c }}"
  "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
  "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
THOUGHT = 7  # The token </think>.


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  path = tmp_path_factory.mktemp("strips")
  tokenizers.WordTokenizer(("l", "r", "</think>")).save(path)
  return tokenizers.load(path, chat_template=STRIPS)


@pytest.fixture(scope="module")
def model():
  return tiny.decoder(num_layers=1)


@pytest.fixture(scope="module")
def params(model):
  return tiny.params(model, seed=2)


@dataclasses.dataclass
class Echo:
  """Answers with as many words as it has heard, and pays for them."""

  index: int
  turn: int = 0

  def reset(self, seed: int) -> tuple[str, dict[str, Any]]:
    del seed
    return "lr"[self.index % 2], {}

  def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
    self.turn += 1
    shown = "l" if "r" in action else "r"
    return shown, len(action.split()) + self.turn / 8, False, False, {}


@pytest.fixture(scope="module")
def play(tokenizer, model, params):
  one = tiny.make_engine(model, SHAPE)
  more = tiny.make_engine(model, rewritten.shape(SHAPE))

  def run(make: Any) -> episodes.Played:
    return episodes.play(
      *(one, params, jax.random.key(1), tokenizer, make),
      prompt_ids=[3, 4],
      indices=[3, 4],
      version=7,
      segments=more,
    )

  return run


@pytest.fixture(scope="module")
def found(play):
  return play(Echo)


def test_a_template_that_strips_reasoning_is_refused_until_asked_for(tokenizer):
  assert rewritten.rewrites(tokenizer)
  assert not rewritten.rewrites(tiny.tokenizer())
  task = tiny.Say(turns=3)
  with pytest.raises(ValueError, match="rollout.rewriting_templates=segment"):
    episodes.check(task, tokenizer, 8)
  episodes.check(task, tokenizer, 8, segmented=True)
  episodes.check(tiny.Say(turns=1), tokenizer, 8)


def messages_of(log, row: int, turn: int, tokenizer) -> list[dict[str, str]]:
  """What had been said when a turn began, from the tokens and the game."""
  game, talk = Echo(int(log.prompt[row])), []
  text, _ = game.reset(0)
  for before in range(turn + 1):
    talk.append({"role": "user", "content": text})
    if before < turn:
      at = log.segment[row] == row * TURNS + before
      ids = log.tokens[row, at].tolist()
      spoke = tokenizer.decode(ids[:-1] if ids[-1] == tiny.END else ids)
      talk.append({"role": "assistant", "content": spoke})
      text = game.step(spoke)[0]
  return talk


def test_each_turn_stands_in_the_context_that_the_template_renders(
  found, tokenizer
):
  log, batch = found.record, tiny.host(found.record.rollout())
  assert batch.tokens.shape == (ROWS * TURNS, SHAPE.length)
  seen, extended = 0, 0
  for row in range(ROWS):
    assert log.turns[row] == TURNS
    for turn in range(TURNS):
      (own,) = np.flatnonzero((batch.segment == row * TURNS + turn).any(1))
      assert own // TURNS == row
      at = np.flatnonzero(batch.segment[own] == row * TURNS + turn)
      context = batch.tokens[own, : at[0]].tolist()
      talk = messages_of(log, row, turn, tokenizer)
      assert context == tokenizer.chat(talk)
      seen += 1
      extended += own != row * TURNS + turn
  assert seen == ROWS * TURNS
  # Both happened: what had no thought in it was appended to.
  assert 0 < extended < seen - ROWS


def test_a_segment_begins_where_something_was_taken_out_and_nowhere_else(found):
  log = found.record
  for row in range(ROWS):
    for turn in range(1, TURNS):
      before = log.segment[row] == row * TURNS + turn - 1
      # Special tokens are no text: they are not rendered again either.
      lost = np.isin(log.tokens[row, before], [0, 2, 3, 4, THOUGHT]).any()
      assert (log.breaks[row, turn] >= 0) == lost


def test_the_trainer_finds_the_engines_log_probs(found, model, params):
  batch = tiny.host(found.record.rollout())
  index = np.arange(batch.tokens.shape[1], dtype=np.int32)
  positions = np.broadcast_to(index, batch.tokens.shape)
  tokens, positions, valid = map(
    jnp.asarray, (batch.tokens, positions, batch.valid.astype(np.int32))
  )
  hidden = model.apply(params, tokens, positions, valid)
  expected = log_probs.token_log_probs(
    *(model.logits, params, hidden, tokens), temperature=1.0, chunk_tokens=512
  )[0]
  np.testing.assert_allclose(
    batch.log_probs[batch.mask], np.asarray(expected)[batch.mask], atol=1e-5
  )
  assert batch.mask.sum() == found.record.mask.sum()
  assert not batch.log_probs[~batch.mask].any()
  assert (batch.version[batch.valid] == 7).all()


def test_draws_in_different_segments_are_different(found):
  # With one key for one position they would repeat each other where contexts
  # are much alike; here it is enough that not all do.
  log = found.record
  actions = {
    tuple(log.tokens[row, log.segment[row] == row * TURNS + turn].tolist())
    for row in range(ROWS)
    for turn in range(TURNS)
  }
  assert len(actions) > ROWS


def test_the_step_table_is_that_of_whole_episodes(found):
  log = found.record
  whole = dataclasses.replace(log, breaks=None)
  apart = tiny.host(log.steps())
  jax.tree.map(np.testing.assert_array_equal, apart, tiny.host(whole.steps()))
  assert (apart.continues.reshape(ROWS, TURNS).sum(1) == TURNS - 1).all()
  assert (apart.trajectory == np.repeat(np.arange(ROWS), TURNS)).all()
  # A step's credit reaches its tokens, wherever they stand.
  signal = jnp.arange(ROWS * TURNS, dtype=jnp.float32) + 1
  one = np.asarray(spreads.spread(signal, log.rollout().segment))
  other = np.asarray(spreads.spread(signal, whole.rollout().segment))
  for row in range(ROWS):
    np.testing.assert_array_equal(log.along(one, row), other[row])


def test_it_is_told_how_many_segments_there_were(found):
  numbers = summary.measure(found)
  expected = (found.record.breaks >= 0).sum() / ROWS
  assert numbers["step/num_segments"] == expected > 1
  assert "step/num_segments" not in summary.measure(
    found._replace(record=dataclasses.replace(found.record, breaks=None))
  )


def test_episodes_are_selected_joined_and_left_out_whole(found):
  two = played.join([found, found])
  picked = played.select(two, np.array([8, 3, 9]))
  for name in ("tokens", "mask", "log_probs", "valid"):
    own = np.asarray(getattr(found.record.rollout(), name))
    again = np.asarray(getattr(picked.record.rollout(), name))
    rows = own.reshape(ROWS, TURNS, -1)[[0, 3, 1]]
    np.testing.assert_array_equal(again.reshape(3, TURNS, -1), rows)
  settings = config.RolloutConfig(group_size=4, mask_truncated=True)
  masked, _ = refill.train_on(settings, found)
  assert not np.asarray(masked.mask).any()  # All met the limit of turns.
  batch, steps = refill.train_on(config.RolloutConfig(group_size=4), found)
  assert np.asarray(batch.mask).any()
  assert len(np.asarray(steps.weight)) == ROWS * TURNS


def test_a_person_reads_it_as_one_episode(found, tokenizer):
  credit = np.asarray(found.record.rollout().segment).astype(float)
  line = views.as_json(found, credit, tokenizer, 5)
  assert line["advantages"] == [5.0 * TURNS + t for t in range(TURNS)]
  assert len(line["actions"]) == TURNS
  lines = views.readable(found.record, None, tokenizer, 5)
  assert len(lines) == TURNS


def test_what_no_longer_fits_ends_the_episode(play):
  class Long(Echo):
    def step(self, action):
      found = super().step(action)
      return ("l " * 60, *found[1:]) if self.index == 3 else found

  found = play(Long)
  assert found.stop[:4] == ["context_overflow"] * 4
  assert found.stop[4:] == ["max_turns"] * 4


def test_only_recipes_that_sample_take_segments(tokenizer):
  settings = experiment.TrainConfig(
    name="segments",
    model=None,
    task=tiny.Say(turns=3),
    recipe=None,
    rollout=config.RolloutConfig(
      rewriting_templates="segment", num_prompts=2, group_size=4
    ),
  )
  shape = rollouts.shape_of(settings)
  size = rollouts.size_of(settings, recipes.grpo(), tokenizer)
  assert size == (shape.rows * 3, shape.length, 1)
  plain = rollouts.size_of(settings, recipes.grpo(), tiny.tokenizer())
  assert plain == (shape.rows, shape.length, 3)
  with pytest.raises(ValueError, match="rewriting_templates=segment: recipe"):
    rollouts.size_of(settings, recipes.tree_grpo(), tokenizer)
