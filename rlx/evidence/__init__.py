"""Evidence: what step-level credit is made of, beyond the rewards.

Columns of the step table come from three places. An environment or a reward
function may say them (`info["evidence"]`); a rollout plan may sample for them
(`rlx.rollout.plans`); a `provider` computes them on the device from the batch,
with parameters of its own if it learns. The other modules are the formulas.
"""
