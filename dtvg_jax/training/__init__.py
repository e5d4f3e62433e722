"""Lanes, and what trains them: step, optimisers, placement, loop, checkpoints."""
