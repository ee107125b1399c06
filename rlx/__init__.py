"""rlx: reinforcement fine-tuning of language models, with credit per step."""

__version__ = "0.1.0"
