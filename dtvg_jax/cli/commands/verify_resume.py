"""python -m dtvg_jax.verify_resume --gin_file=gin/runs/quickstart.gin --out=DIR

Proves that a job of yours resumes exactly: runs it twice in DIR, once undisturbed and
once killed (kill -9) at random moments, and compares prompts, log and scores. A job
that is finished in DIR already is not run again.
"""

import sys

from absl import flags

from dtvg_jax import files
from dtvg_jax.cli import command, gin_settings, signals
from dtvg_jax.errors import InputError

FLAGS = flags.FlagValues()
GIN = gin_settings.define_flags(FLAGS)
OUT = flags.DEFINE_string(
    "out",
    None,
    "Folder of the two jobs; made if absent. Required.",
    flag_values=FLAGS,
    required=True,
)
DATA_DIR = flags.DEFINE_string(
    "tfds_data_dir", None, "Folder of prepared TFDS data.", flag_values=FLAGS
)
KILLS = flags.DEFINE_integer(
    "kills", 20, "How often the job is killed.", 1, flag_values=FLAGS
)
SEED = flags.DEFINE_integer(
    "seed", 0, "Draws the moments of the kills.", 0, flag_values=FLAGS
)


def main(words: list[str], received: signals.Signals) -> None:
    """Runs both jobs and prints the verdict; exit code 2 where they differ."""
    from dtvg_jax.jobs import job, verify_resume

    # A mistake in the settings is reported here, and not by a job that fails.
    gin_settings.configure(job.Job, GIN)
    out = files.expand_local(OUT.value, "the folder of the jobs")
    with received.between_steps() as check:
        verdict = verify_resume.verify(
            _flags_of_train(), out, KILLS.value, SEED.value, check=check
        )
    equal = verdict.entries - len(verdict.differing)
    print(f"prompts: {equal} of {verdict.entries} equal")
    print(f"log: {'equal' if verdict.same_log else 'differs'}")
    print(f"scores: {'equal' if verdict.same_scores else 'differ'}")
    if not verdict.same:
        raise InputError(
            f"a job killed {verdict.kills} times does not end as an undisturbed one: "
            f"{', '.join(verdict.differing[:5]) or 'see above'}"
        )


def _flags_of_train() -> list[str]:
    given = [f"--gin_file={file}" for file in GIN.files.value]
    given += [f"--gin_bindings={binding}" for binding in GIN.bindings.value]
    given += [f"--gin_search_paths={','.join(GIN.search_paths.value)}"]
    if DATA_DIR.value is not None:
        given.append(f"--tfds_data_dir={DATA_DIR.value}")
    return given


COMMAND = command.Command(__doc__ or "", FLAGS, main, resumes=True)


def run() -> None:
    """Runs the command with the arguments of this process."""
    command.run(COMMAND, sys.argv)


if __name__ == "__main__":
    run()
