"""Command: pretrain a small T5 on a mixture that a gin file names.

python -m dtvg_jax.pretrain --gin_file=gin/runs/pretrain_miniature.gin --out DIR
"""

import sys

from absl import app, flags, logging

import gin
from dtvg_jax.pretraining import loop

GIN_FILE = flags.DEFINE_multi_string("gin_file", None, "Gin file; may be repeated.")
BINDINGS = flags.DEFINE_multi_string("gin_bindings", [], "A binding, NAME = VALUE.")
OUT = flags.DEFINE_string("out", None, "Folder of the run; made if absent.")


def main(argv: list[str]) -> None:
    """Reads the configuration and runs."""
    del argv
    logging.set_verbosity(logging.WARNING)  # Orbax tells every save at length
    gin.parse_config_files_and_bindings(GIN_FILE.value, BINDINGS.value)
    skills = gin.get_configurable(loop.pretrain)(out=OUT.value)
    for name, value in skills["words"].items():
        maps = skills["maps"].get(name)
        print(f"{name:16}{value:6.1f}" + (f"{maps:8.1f}" if maps is not None else ""))
    print(f"backbone: {OUT.value}/backbone")


def run() -> None:
    """Entry point: `--gin.NAME=VALUE` is short for a binding, as in T5X."""
    flags.mark_flags_as_required(["gin_file", "out"])
    prefix = "--gin."
    args = [
        "--gin_bindings=" + a.removeprefix(prefix).replace("=", " = ", 1)
        if a.startswith(prefix)
        else a
        for a in sys.argv
    ]
    app.run(main, args)


if __name__ == "__main__":
    run()
