"""What a backbone can be prompted to do, as a table, and the marks it should meet.

    python -m benchmarks.promptable [--backbone=DIR] [--seeds=5] [--out=FILE.json]

Untrained prompts, prompt tuning, prompts of related and unrelated sources, and full
fine-tuning, on the miniature's tasks with their own training data and ten times that.
"""
