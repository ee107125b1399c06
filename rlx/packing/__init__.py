"""Rows of a batch put together, so that what they share is computed once.

Rows that begin alike (samples of a prompt, paths and edges of a tree) are a
trie: in a pack each of its tokens has one column, and a row is a path of
columns. Rows that share nothing stand behind each other in one pack. Only what
some chosen token is predicted from has a column.

A pack is a trunk that all its rows begin with, and blocks that see the trunk and
themselves; without a trunk there is one block. See `rlx.policy.Policy.apply` for
who sees whom.
"""
