"""Decoders and their Hugging Face mapping; they know nothing of RL."""
