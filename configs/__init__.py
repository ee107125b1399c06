"""Experiments: one file each, with command, time and observed result."""
