"""A small generated world and the twelve tasks that are drawn from it."""
