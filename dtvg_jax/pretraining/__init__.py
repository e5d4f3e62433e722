"""Pretrains a small T5 so that prompts can steer it."""
