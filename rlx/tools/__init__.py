"""Tools that a policy may call, and tasks in which it does."""
