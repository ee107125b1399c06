"""Rollouts: from prompts to `Rollout` and `Steps`."""
