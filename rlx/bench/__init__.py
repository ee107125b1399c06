"""The speed of rlx on two small workloads, stated so that others can run them.

`rlx bench grpo` and `rlx bench agent`. Nothing here is faster than what a user
gets: the same loop, learner and rollout run, with a clock around them.
"""
