"""Import this module to register every task with SeqIO."""

from tasks import glue, question_answering, super_glue

__all__ = ["glue", "question_answering", "super_glue"]
