"""Flags, gin, signals, messages for mistakes; the commands."""
