"""Explanations of terms and methods in the report."""

from dtvg_jax import methods
from dtvg_jax.report.records import JobFacts

TERMS = """\
- A *prompt* is a small array of numbers placed in front of a model's input. The model \
is frozen; only prompts are trained.
- *Targets* are the tasks to improve; *sources* are tasks whose prompts may help.
- *Stage 1* learns a prompt for each source and each target separately. *Stage 2* \
tunes the targets' prompts further, once with each method.
- A *task prompt vector* is what stage 1 has changed in a prompt: the learned prompt \
minus the initial one.
- The *group* of a target consists of the sources whose task prompt vectors are added \
to its own.
- A *seed* determines the initial prompt and the order of the examples. Seeds differ \
by chance alone, so a difference no larger than that between seeds means nothing."""


def description(job: JobFacts, method: str) -> str:
    """Describes a method; "" if neither the job nor this version knows it."""
    known = methods.METHODS.get(method)
    return job.descriptions.get(method, known.description if known else "")
