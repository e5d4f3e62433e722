"""Import this module to register every task and mixture with SeqIO."""

from . import generation, glue, others, question_answering, super_glue

from . import mixtures  # isort: skip (it needs the tasks)

__all__ = [
    "generation",
    "glue",
    "mixtures",
    "others",
    "question_answering",
    "super_glue",
]
