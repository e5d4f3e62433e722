"""Remakes tables and plots: `python -m dtvg_jax.report --job_dir=DIR`."""

import argparse
import sys
from collections.abc import Sequence

from dtvg_jax import report
from dtvg_jax.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the report of a job folder and prints it; 2 if that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m dtvg_jax.report")
    parser.add_argument("--job_dir", required=True, help="folder of a finished job")
    job_dir = parser.parse_args(arguments).job_dir
    try:
        report.print_table(report.write(job_dir), job_dir)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
