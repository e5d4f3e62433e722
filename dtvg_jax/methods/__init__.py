"""Prompt methods by name. A new one is a file beside this and a line below."""

import difflib

from dtvg_jax import task_vectors
from dtvg_jax.errors import InputError
from dtvg_jax.methods.dtvg import dtvg
from dtvg_jax.methods.method import Context, Method
from dtvg_jax.methods.prompt_tuning import prompt_tuning

__all__ = ["METHODS", "STARTS", "Context", "Method", "by_name", "check_sources"]

# The order of what has the same structure matters not: lanes of `prompt_tuning` and
# `spot` differ in their start only and share a program.
METHODS: dict[str, Method] = {
    "prompt_tuning": prompt_tuning,
    "spot": prompt_tuning,
    "best_source": prompt_tuning,
    "dtvg": dtvg(task_vectors.released),
    "target_only": dtvg(task_vectors.target_only),
    "all_sources": dtvg(task_vectors.all_sources),
    "positive_similarity": dtvg(task_vectors.positive_similarity),
    "max_consistency": dtvg(task_vectors.max_consistency),
    "fixed_group": dtvg(task_vectors.released, until=0),
    "regroup_every_10": dtvg(task_vectors.released, every=10),
    "freeze_after_50": dtvg(task_vectors.released, until=50),
    "greedy": dtvg(task_vectors.greedy(1.0)),
    "exhaustive": dtvg(task_vectors.exhaustive(1.0)),
}

# Where a method's prompt starts in stage 2, if not at the target's stage-1 prompt.
STARTS = {"spot": "most_similar_source", "best_source": "best_validated_source"}

# The most sources that a method takes, where it has a limit.
MOST_SOURCES = {"exhaustive": task_vectors.MAX_EXHAUSTIVE_SOURCES}


def by_name(name: str) -> Method:
    """Finds a method; raises InputError that names the nearest one."""
    if name in METHODS:
        return METHODS[name]
    near = difflib.get_close_matches(name, METHODS, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(f"unknown method {name!r}: {hint}known are {', '.join(METHODS)}")


def check_sources(name: str, count: int) -> None:
    """Raises InputError where a method takes fewer sources than a job has."""
    most = MOST_SOURCES.get(name, count)
    if count > most:
        raise InputError(f"method {name!r} takes at most {most} sources, not {count}")
