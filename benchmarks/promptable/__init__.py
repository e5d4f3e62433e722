"""Measures what a backbone can be prompted to do, against success criteria.

    python -m benchmarks.promptable [--backbone=DIR] [--seeds=5] [--out=FILE.json]

Compares untrained prompts, prompt tuning, prompts of related and unrelated sources,
and full fine-tuning, on the miniature's tasks with their own and ten times the data.
"""
