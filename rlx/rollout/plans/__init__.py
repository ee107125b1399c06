"""How batches are collected, one way per file, each a `plan.Plan`."""
