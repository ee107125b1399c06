"""What `rlx bench --help` and `rlx bench NAME --help` say."""

USAGE = """usage: rlx bench NAME [--json] [...]

Runs a fixed workload with rlx's own code, on a small model made from scratch,
and says what it takes.

  grpo     steps of GRPO: sampling and an update, and the start, cold and warm
  agent    the same of episodes of three turns
  train    an update with a group's prompt computed once, or on long rows
  rollout  sampling alone, and how near it is to the memory's speed
  device   episodes inside the compiled program, beside the host's
  tree     going on from the middle, with what was read kept and read again
  credit   advantages of every recipe, beside plain NumPy

`rlx bench NAME --help` says what is run and which options there are; --json
prints one JSON object, with the versions and the workload.

Compare machines or versions back to back and on an otherwise idle machine; where
others compute beside it, compare CPU-seconds.

examples:
  rlx bench grpo --json > grpo.json
  rlx bench credit --recipe gigpo"""

_STEPS = """
It runs twice, in processes of its own: with an empty compilation cache and with the
warm one. The model has 4 million parameters (4 layers, width 256, float32).

  --steps N  steps in all, the first 3 not counted; 12 unless given
  --json     one JSON object: seconds, CPU-seconds and tokens/s of a step, seconds
             from process start to the first finished step (cold and warm), peak
             memory, versions, the workload"""

_GRPO = """usage: rlx bench grpo [--json] [--steps N]

Steps of GRPO: 8 prompts × 8 completions, 32 + 64 tokens, one update a step.
"""

_AGENT = """usage: rlx bench agent [--json] [--steps N]

Steps of episodes: 4 prompts × 4 episodes × 3 turns × 16 tokens, paid per turn.
"""

_TRAIN = """usage: rlx bench train [--json] [--steps N] [--length N]

An update on 8 completions of one prompt, 512 + 64 tokens, with the prompt computed
once and once a completion, in turns, in this process: seconds, ratio, tokens, and
the largest gap of the gradients.

With --length, an update on rows of so many tokens that share nothing instead:
`mfu`, the operations of the model (6 a parameter and token, and causal attention)
over what the machine could do. On a CPU that is the product of two matrices of
1024 × 1024, measured; on an accelerator the published peak, for a model of 0.6B.

  --steps N   updates of each kind; 7 unless given
  --length N  tokens of a row, 32 or more
  --json      one JSON object

example:
  rlx bench train --length 2048"""

_DEVICE = """usage: rlx bench device [--json] [--repeats N]

FrozenLake, 8 starts × 4, 8 and 16 episodes of 12 turns of a word, with two small
models: episodes played by the host and inside the compiled program, in turns, in
this process, the same tokens; and the game alone. `ratio` is how many times as long
the host takes.

  --repeats N  batches each way; 7 unless given
  --json       one JSON object"""

_CREDIT = """usage: rlx bench credit [--json] [--recipe NAME]

The step-level advantages of every recipe, in this process, on tables of 4,096,
16,384 and 131,072 steps: of 128, 512 and 4,096 trajectories × 32 steps. `plain`
is NumPy and dictionaries on the largest of these tables, `ratio` how many times as
long that takes. Medians of 15 calls.

  --recipe R  of this recipe only
  --json      one JSON object"""

PAGES = {
  "grpo": _GRPO + _STEPS,
  "agent": _AGENT + _STEPS,
  "train": _TRAIN,
  "device": _DEVICE,
  "credit": _CREDIT,
}
