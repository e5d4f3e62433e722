"""Frozen language models as pure functions over a parameter tree."""
