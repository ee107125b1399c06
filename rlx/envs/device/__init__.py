"""Environments as pure functions on arrays, played where the policy is."""
