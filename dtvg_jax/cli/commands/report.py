"""python -m dtvg_jax.report --job_dir=jobs/quickstart

Rebuilds the tables and plots of a finished job, and prints the scores.
"""

import sys

from absl import flags

from dtvg_jax import files
from dtvg_jax.cli import command, signals

FLAGS = flags.FlagValues()
JOB_DIR = flags.DEFINE_string(
    "job_dir",
    None,
    "Folder of a finished job. Required.",
    required=True,
    flag_values=FLAGS,
)
BASELINE = flags.DEFINE_string(
    "baseline",
    None,
    "The method of the job that the others are compared with, such as dtvg; by default "
    "prompt_tuning.",
    flag_values=FLAGS,
)


def main(words: list[str], received: signals.Signals) -> None:
    """Writes the report of a job folder and prints it."""
    from dtvg_jax import report

    folder = files.expand(JOB_DIR.value)
    report.print_table(report.write(folder, BASELINE.value), folder)


COMMAND = command.Command(__doc__ or "", FLAGS, main)


def run() -> None:
    """Runs the command with the arguments of this process."""
    command.run(COMMAND, sys.argv)


if __name__ == "__main__":
    run()
