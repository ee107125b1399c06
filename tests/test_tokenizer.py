"""Golden tokens of every template, and agreement with transformers."""

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from rlx import tokenizer

WORDS = ["up", "down", "left", "right"]
# Ids: 0 <pad>, 1 <end>, 2 <system>, 3 <user>, 4 <assistant>, then WORDS from 5.
TALK = [
  {"role": "system", "content": "up"},
  {"role": "user", "content": "down left"},
  {"role": "assistant", "content": "right"},
  {"role": "user", "content": "up"},
]

CHATML = (
  "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content']"
  " + '<|im_end|>' + '\\n' }}{% endfor %}"
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# As Qwen3's: the last assistant turn gets an empty thought, earlier ones none.
REWRITES = (
  "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
  "{% if m['role'] == 'assistant' and loop.last %}{{ '<think></think>' }}"
  "{% endif %}{{ m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
REFUSES = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"


def byte_ids(string):
  return [b + 3 for b in string.encode()]


def hugging_face(path, template, stop_ids=None, **tokens):
  """A byte-level directory with ids 262 <|im_start|>, 263 <|im_end|>."""
  import transformers

  tokenizer.ByteTokenizer().save(path)
  hf = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
  special = {"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]}
  hf.add_special_tokens(special | tokens)
  hf.chat_template = template
  hf.save_pretrained(path)
  if stop_ids is not None:
    text = json.dumps({"eos_token_id": stop_ids})
    (path / "generation_config.json").write_text(text)
  return tokenizer.load(path)


def test_words_have_golden_tokens():
  words = tokenizer.WordTokenizer(WORDS)
  assert words.encode("right  up\n") == [8, 5]
  assert words.chat(TALK) == [2, 5, 3, 6, 7, 4, 8, 1, 3, 5, 4]
  assert words.chat(TALK, False) == [2, 5, 3, 6, 7, 4, 8, 1, 3, 5]
  assert words.turn("up") == [3, 5, 4]
  assert words.decode([4, 8, 1]) == "right"
  assert words.decode([4, 8, 1], skip_special_tokens=False) == (
    "<assistant> right <end>"
  )
  assert (words.vocab_size, words.pad_id, words.stop_ids) == (9, 0, (1,))


def test_bytes_have_golden_tokens():
  b = tokenizer.ByteTokenizer()
  assert b.encode("aé") == [100, 198, 172]
  assert b.chat([{"role": "user", "content": "a"}]) == [1, 260, 100, 261]
  assert b.turn("a") == [260, 100, 261]
  assert b.decode([1, 260, 100, 2]) == "a"
  assert b.decode([1, 100, 2], skip_special_tokens=False) == "<bos>a<eos>"
  assert b.decode([198]) == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("make", [WORDS, None], ids=["words", "bytes"])
def test_a_turn_extends_the_conversation(make):
  t = tokenizer.WordTokenizer(make) if make else tokenizer.ByteTokenizer()
  before = t.chat(TALK[:2])
  after = before + t.encode("right") + [t.stop_ids[0]] + t.turn("up")
  assert after == t.chat(TALK)


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(st.lists(st.sampled_from(WORDS)), st.sampled_from(" \n\t"))
def test_words_survive_a_round_trip(words, space):
  t = tokenizer.WordTokenizer(WORDS)
  x = space.join(words)
  assert t.decode(t.encode(x)) == " ".join(x.split())


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(st.text())
def test_bytes_survive_a_round_trip(x):
  x = x.encode(errors="replace").decode()
  t = tokenizer.ByteTokenizer()
  assert t.decode(t.encode(x)) == x


def test_an_unknown_word_is_named_and_a_special_one_refused():
  t = tokenizer.WordTokenizer(WORDS)
  with pytest.raises(ValueError, match="word 1 of the text, 'sideways'"):
    t.encode("up sideways")
  with pytest.raises(ValueError, match="'<end>', is a special token"):
    t.encode("<end>")
  with pytest.raises(ValueError, match=r"more than once: \['up'\]"):
    tokenizer.WordTokenizer(["up", "up"])
  with pytest.raises(ValueError, match="'a b' is empty or contains whitespace"):
    tokenizer.WordTokenizer(["a b"])
  with pytest.raises(ValueError, match="role 'tool' is not one of"):
    t.chat([{"role": "tool", "content": "up"}])


def test_saved_words_load_in_transformers_with_the_same_ids(tmp_path):
  ours = tokenizer.WordTokenizer(WORDS)
  ours.save(tmp_path)
  theirs = tokenizer.load(tmp_path)
  assert theirs.encode(" up  left\n") == ours.encode("up left")
  assert_same(ours, theirs)
  with pytest.raises(Exception, match="WordLevel"):
    theirs.encode("sideways")


def test_saved_bytes_load_in_transformers_with_the_same_ids(tmp_path):
  ours = tokenizer.ByteTokenizer()
  ours.save(tmp_path)
  theirs = tokenizer.load(tmp_path)
  for x in ["", " a  b\n", "héllo 日本", "\x00\x7f", "12 + 7 ="]:
    assert theirs.encode(x) == ours.encode(x)
  assert_same(ours, theirs)


def assert_same(ours, theirs):
  for generate in (True, False):
    assert theirs.chat(TALK, generate) == ours.chat(TALK, generate)
  assert theirs.turn("up") == ours.turn("up")
  ids = ours.chat(TALK)
  for skip in (True, False):
    want = ours.decode(ids, skip_special_tokens=skip)
    assert theirs.decode(ids, skip_special_tokens=skip) == want
  for field in ("vocab_size", "pad_id", "stop_ids", "bos_ids"):
    assert getattr(theirs, field) == getattr(ours, field)


def test_chatml_has_golden_tokens_and_several_stop_ids(tmp_path):
  t = hugging_face(tmp_path, CHATML, stop_ids=[263, 99])
  assert t.stop_ids == (263, 99, 2)
  prompt = t.chat([{"role": "user", "content": "a"}])
  assert prompt == [
    *[262, *byte_ids("user\na"), 263, *byte_ids("\n")],
    *[262, *byte_ids("assistant\n")],
  ]
  # The newline after the stop token is the template's, not the model's.
  assert t.turn("z") == [
    *byte_ids("\n"),
    *[262, *byte_ids("user\nz"), 263, *byte_ids("\n")],
    *[262, *byte_ids("assistant\n")],
  ]
  reply = [*t.encode("b"), t.stop_ids[0]]
  assert prompt + reply + t.turn("z") == t.chat(
    [
      {"role": "user", "content": "a"},
      {"role": "assistant", "content": "b"},
      {"role": "user", "content": "z"},
    ]
  )


def test_the_template_tells_a_stop_token_that_no_config_names(tmp_path):
  t = hugging_face(tmp_path, CHATML)
  assert t.stop_ids == (263, 2)


def test_bos_is_not_doubled(tmp_path):
  t = hugging_face(tmp_path, "{{ bos_token }}" + CHATML)
  assert t.chat([{"role": "user", "content": "a"}]).count(1) == 1
  assert t.turn("z").count(1) == 0


def test_a_template_that_rewrites_history_is_refused_for_turns(tmp_path):
  t = hugging_face(tmp_path, REWRITES)
  assert t.chat(TALK[:2])[-1] == byte_ids("\n")[0]
  with pytest.raises(ValueError, match="rewrites earlier turns"):
    t.turn("z")
  fixed = tokenizer.load(tmp_path, chat_template=CHATML)
  assert fixed.turn("z")[0] == byte_ids("\n")[0]


STRIPS = (
  "{% for m in messages %}{% set c = m['content'] %}"
  "{% if m['role'] == 'assistant' and not loop.last %}"
  "{% set c = c.split('</think>')[-1] %}{% endif %}"
  "{{ '<|im_start|>' + m['role'] + '\\n' + c + '<|im_end|>' + '\\n' }}"
  "{% endfor %}"
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def test_a_template_that_only_takes_reasoning_out_rewrites_too(tmp_path):
  t = hugging_face(tmp_path, STRIPS)
  assert isinstance(t, tokenizer.Rewriting)
  assert t.rewrites
  with pytest.raises(ValueError, match="rollout.rewriting_templates=segment"):
    t.turn("z")
  assert not tokenizer.load(tmp_path, chat_template=CHATML).rewrites
  assert not isinstance(tokenizer.ByteTokenizer(), tokenizer.Rewriting)


def test_what_follows_is_appended_unless_the_template_rewrites(tmp_path):
  t = hugging_face(tmp_path, STRIPS)
  before, close = t.chat(TALK[1:2]), [t.stop_ids[0]]
  for spoke, appends in (("right", True), ("a</think>right", False)):
    talk = [TALK[1], {"role": "assistant", "content": spoke}, TALK[3]]
    ids = [*before, *t.encode(spoke), *close]
    said = t.follow(ids, talk)
    assert (said is not None) == appends
    if said is not None:
      assert ids + said == t.chat(talk)
  # Another way to write what was said changes nothing.
  talk = [
    TALK[1],
    {"role": "assistant", "content": "\N{REPLACEMENT CHARACTER}"},
  ]
  ids = [*before, 3 + 0xFF, *close]
  said = t.follow(ids, [*talk, TALK[3]])
  assert said == t.chat([*talk, TALK[3]])[len(ids) + 2 :]


def test_a_template_that_refuses_messages_says_which_roles(tmp_path):
  t = hugging_face(tmp_path, REFUSES)
  with pytest.raises(ValueError, match=r"\['system'\]: no system role"):
    t.chat(TALK[:1])


def test_a_missing_pad_token_falls_back_and_a_missing_template_is_named(
  tmp_path,
):
  t = hugging_face(tmp_path, None)
  assert t.pad_id == 0
  edit(tmp_path, pad_token=None)
  t = tokenizer.load(tmp_path)
  assert t.pad_id == 2
  with pytest.raises(ValueError, match="has no chat template"):
    t.chat(TALK)


def edit(path, **fields):
  file = path / "tokenizer_config.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_a_directory_without_a_tokenizer_is_refused(tmp_path):
  with pytest.raises(ValueError, match="no directory"):
    tokenizer.load(tmp_path / "absent")
  (tmp_path / "config.json").write_text("{}")
  with pytest.raises(ValueError, match=r"files: \['config.json'\]"):
    tokenizer.load(tmp_path)


def test_a_saved_hugging_face_tokenizer_loads_again(tmp_path):
  t = hugging_face(tmp_path / "a", CHATML)
  t.save(tmp_path / "b")
  again = tokenizer.load(tmp_path / "b")
  assert again.chat(TALK) == t.chat(TALK)
  assert again.stop_ids == t.stop_ids


def test_a_tokenizer_larger_than_the_embedding_is_refused():
  t = tokenizer.ByteTokenizer()
  tokenizer.check_fits(t, 262)
  with pytest.raises(ValueError, match=r"262 tokens.* only 261 rows"):
    tokenizer.check_fits(t, 261)
