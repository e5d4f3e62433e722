"""Soft prompts of many tasks on one frozen language model, and their transfer.

>>> import dtvg_jax as dtvg
>>> sorted(dtvg.METHODS)[:2]
['all_sources', 'dtvg']
"""

import importlib
from typing import Any

# Names are loaded when they are asked for: a command that only parses flags, or a
# program that only uses the algebra, loads no more than it needs.
_SURFACE = {
    "Job": "plan",
    "METHODS": "methods",
    "InputError": "errors",
    "PromptStore": "store",
    "Stage": "stages",
    "load_backbone": "formats.load",
    "run": "job",
    "task_vectors": "",
}


def __getattr__(name: str) -> Any:
    if name not in _SURFACE:
        raise AttributeError(f"module 'dtvg_jax' has no attribute {name!r}")
    where = _SURFACE[name]
    if not where:
        return importlib.import_module(f"dtvg_jax.{name}")
    return getattr(importlib.import_module(f"dtvg_jax.{where}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_SURFACE})
