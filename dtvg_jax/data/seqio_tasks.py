"""Import this module to register all tasks and mixtures of the catalogue with SeqIO.

For programs that are told a module's name, such as T5X and `seqio_cache_tasks`: unlike
`tasks.all`, this name is found whatever other `tasks` lies on their path.
"""

from dtvg_jax.data import catalogue

catalogue.module("all")
