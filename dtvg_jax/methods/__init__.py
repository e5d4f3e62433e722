"""Prompt methods by name. A new one is a file beside this and a line below."""

from dtvg_jax.errors import InputError, unknown
from dtvg_jax.methods import dtvg, prompt_tuning
from dtvg_jax.methods.method import Context, Method, Registered, Start

__all__ = [
    "METHODS",
    "Context",
    "Method",
    "Registered",
    "Start",
    "by_name",
    "check_sources",
]

METHODS: dict[str, Registered] = {
    **prompt_tuning.METHODS,
    **dtvg.METHODS,
}


def by_name(name: str) -> Registered:
    """Finds a method; raises InputError that names the nearest one."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def check_sources(name: str, count: int) -> None:
    """Raises InputError where a method takes fewer sources than a job has."""
    most = by_name(name).most_sources
    if most is not None and count > most:
        raise InputError(f"method {name!r} takes at most {most} sources, not {count}")
