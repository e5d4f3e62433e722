"""Mixtures of the catalogue's tasks, each task drawn as often as any other.

`dtvg_sources`, `dtvg_targets`, `dtvg_all` and one of each family; behind the name comes
the convention, as for tasks ("dtvg_glue_words").
"""

import seqio

from .task_info import CONVENTIONS, TASKS

_ALL = list(TASKS.values())
MIXTURES = {
    "dtvg_sources": [info for info in _ALL if info.role == "source"],
    "dtvg_targets": [info for info in _ALL if info.role == "target"],
    "dtvg_all": _ALL,
} | {
    f"dtvg_{family}": [info for info in _ALL if info.family == family]
    for family in dict.fromkeys(info.family for info in _ALL)
}

for _name, _tasks in MIXTURES.items():
    for _suffix in CONVENTIONS.values():
        seqio.MixtureRegistry.add(
            _name + _suffix,
            [info.seqio_name + _suffix for info in _tasks],
            default_rate=1.0,
        )
