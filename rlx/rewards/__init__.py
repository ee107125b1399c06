"""Verifiers and reward functions: text in, numbers per completion or step out."""
