"""docs/own_task.md, and the rows that it shows."""

import pathlib

DOC = pathlib.Path(__file__).resolve().parents[1] / "docs" / "own_task.md"

# The rows that the document shows.
REVIEWS = """\
{"review": "the meal was dull", "rating": "bad"}
{"review": "the novel was superb", "rating": "good"}
"""
ANSWERS = """\
text,question,answer
"Ann lives in Rome, Ida drinks beer",what does Ida drink,beer
"""
