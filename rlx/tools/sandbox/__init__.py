"""A process in which code that nobody has read may run.

`run.Sandbox` is what to use, and its documentation says what it protects from.
The other modules run in the child, with Python's standard library alone.
"""
