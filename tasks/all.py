"""Import this module to register every task and mixture with SeqIO."""

from tasks import generation, glue, others, question_answering, super_glue

from tasks import mixtures  # isort: skip (it needs the tasks)

__all__ = [
    "generation",
    "glue",
    "mixtures",
    "others",
    "question_answering",
    "super_glue",
]
