"""python -m dtvg_jax.pretrain --gin_file=gin/runs/pretrain_miniature.gin --out=DIR

Pretrains a small T5 on a mixture, as gin files say. The same command resumes a run
that was stopped.
"""

import sys

from absl import flags

from dtvg_jax import files
from dtvg_jax.cli import command, gin_settings, host_settings, signals
from dtvg_jax.errors import InputError

FLAGS = flags.FlagValues()
GIN = gin_settings.define_flags(FLAGS)
host_settings.define_flag(FLAGS)
OUT = flags.DEFINE_string(
    "out", None, "Folder of the run; made if absent.", flag_values=FLAGS
)


def main(words: list[str], received: signals.Signals) -> None:
    """Reads the settings and pretrains."""
    from dtvg_jax.pretraining import loop

    if OUT.value is None:
        raise InputError("no folder for the run: give --out=DIR")
    out = files.expand_local(OUT.value, "the folder of the run")
    settings = gin_settings.configure(loop.Pretraining, GIN)
    with received.between_steps() as check:
        skills = loop.pretrain(out, settings, check)
    for name, value in skills["words"].items():
        maps = skills["maps"].get(name)
        print(f"{name:16}{value:6.1f}" + (f"{maps:8.1f}" if maps is not None else ""))
    print(f"backbone: {out}/backbone")


COMMAND = command.Command(__doc__ or "", FLAGS, main, resumes=True)


def run() -> None:
    """Runs the command with the arguments of this process."""
    command.run(COMMAND, sys.argv)


if __name__ == "__main__":
    run()
