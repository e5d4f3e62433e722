"""`python -m dtvg_jax.report` is the command; this package is the library."""

from dtvg_jax.cli.commands import report

report.run()
