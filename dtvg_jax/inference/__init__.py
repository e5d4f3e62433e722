"""Stored prompts used: decoding, whole splits, lines of a user."""
