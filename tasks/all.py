"""Import this module to register every task with SeqIO."""

from tasks import generation, glue, others, question_answering, super_glue

__all__ = ["generation", "glue", "others", "question_answering", "super_glue"]
