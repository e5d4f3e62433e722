"""Mixtures of the catalogue's tasks, in proportion to their training rows.

`dtvg_sources`, `dtvg_targets`, `dtvg_all` and one of each family; see `task_info`.
"""

import functools

import seqio

from .task_info import CONVENTIONS, MIXTURE_CAP, MIXTURES

_RATE = functools.partial(seqio.mixing_rate_num_examples, maximum=MIXTURE_CAP)

for _name, _tasks in MIXTURES.items():
    for _suffix in CONVENTIONS.values():
        seqio.MixtureRegistry.add(
            _name + _suffix,
            [info.seqio_name + _suffix for info in _tasks],
            default_rate=_RATE,
        )
