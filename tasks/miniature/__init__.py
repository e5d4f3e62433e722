"""A small generated world and the 26 tasks that are drawn from it."""
