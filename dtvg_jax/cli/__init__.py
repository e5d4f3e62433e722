"""Flags, gin, signals, and what is said of mistakes; the commands."""
