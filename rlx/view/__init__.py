"""What people see: progress, tables, episodes."""
