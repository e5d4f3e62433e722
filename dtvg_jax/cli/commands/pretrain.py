"""python -m dtvg_jax.pretrain --gin_file=gin/runs/pretrain_miniature.gin --out=DIR

Pretrains a small T5 on a mixture, as gin files say. The same command goes on with a
run that was stopped.
"""

import pathlib
import sys

from absl import flags

from dtvg_jax.cli import app
from dtvg_jax.errors import InputError
from dtvg_jax.pretraining import loop

OUT = flags.DEFINE_string("out", None, "Folder of the run; made if absent.")


def main(command: list[str], check: app.Check) -> None:
    """Reads the configuration and runs."""
    del command
    if OUT.value is None:
        raise InputError("no folder for the run: give --out=DIR")
    settings = app.configure(loop.Pretraining)
    skills = loop.pretrain(pathlib.Path(OUT.value), settings, check)
    for name, value in skills["words"].items():
        maps = skills["maps"].get(name)
        print(f"{name:16}{value:6.1f}" + (f"{maps:8.1f}" if maps is not None else ""))
    print(f"backbone: {OUT.value}/backbone")


def run() -> None:
    """Entry point."""
    app.run(main, sys.argv)


if __name__ == "__main__":
    run()
