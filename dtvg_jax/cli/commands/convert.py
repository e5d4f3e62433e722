"""python -m dtvg_jax.convert export --store DIR --format peft --backbone B --out DIR
python -m dtvg_jax.convert import --store DIR --backbone B sst2=adapter rte=rte.npy
python -m dtvg_jax.convert similarities --store DIR
python -m dtvg_jax.convert backbone --backbone B --format t5x --out DIR

Converts prompts and backbones to and from other programs' formats.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from dtvg_jax import errors, files
from dtvg_jax.cli import command, signals
from dtvg_jax.cli.model_flags import DTYPES
from dtvg_jax.errors import InputError

if TYPE_CHECKING:
    from dtvg_jax.formats.load import Source

# As in store.import_export and store.entries, which load JAX: flags are read before.
IMPORTED = "imported"
FORMATS = ("peft", "npy", "prompt_tuning")
BACKBONE_FORMATS = ("t5x", "hugging_face")
ENTRIES = "entries of the store, <task>/<method>-seed<n>; all by default"
STORE = "Folder of the prompt store."
MODEL = "The model of the prompts: a Hugging Face or T5X folder, or miniature."
DTYPE = "Of the backbone."


def _required(name: str, about: str, known: flags.FlagValues) -> None:
    flags.DEFINE_string(name, None, f"{about} Required.", known, required=True)


def _format(formats: Sequence[str], known: flags.FlagValues) -> None:
    about = "What to write. Required."
    flags.DEFINE_enum("format", None, formats, about, known, required=True)


EXPORT = flags.FlagValues()
_required("store", STORE, EXPORT)
_format(FORMATS, EXPORT)
_required("out", "Folder to write into.", EXPORT)
flags.DEFINE_string("backbone", None, MODEL, EXPORT)
flags.DEFINE_string(
    "base_model",
    None,
    "Model that a PEFT adapter names; the backbone's folder by default.",
    EXPORT,
)

IMPORT = flags.FlagValues()
_required("store", STORE, IMPORT)
flags.DEFINE_string("backbone", None, MODEL, IMPORT)
flags.DEFINE_enum("dtype", "float32", DTYPES, DTYPE, IMPORT)
flags.DEFINE_string("method", IMPORTED, "Method in an entry's name.", IMPORT)
flags.DEFINE_integer(
    "seed", 0, "Seed in an entry's name, and of P_init.", 0, None, IMPORT
)
flags.DEFINE_string(
    "p_init",
    None,
    "Prompt file that the prompts started from, instead of the seed's P_init.",
    IMPORT,
)

SIMILARITIES = flags.FlagValues()
_required("store", STORE, SIMILARITIES)

BACKBONE = flags.FlagValues()
_required("backbone", "The T5 to convert.", BACKBONE)
_format(BACKBONE_FORMATS, BACKBONE)
_required("out", "A new folder.", BACKBONE)
flags.DEFINE_enum("dtype", "float32", DTYPES, DTYPE, BACKBONE)
flags.DEFINE_integer(
    "step", 0, "Step in the name of a T5X checkpoint.", 0, None, BACKBONE
)


def _export(words: list[str], received: signals.Signals) -> None:
    from dtvg_jax.store import import_export
    from dtvg_jax.store.prompt_store import PromptStore

    store = PromptStore(EXPORT.store)
    to = import_export.Target(
        files.expand(EXPORT.out),
        EXPORT.format,
        _source(EXPORT.backbone),
        EXPORT.base_model,
    )
    made = import_export.export_prompts(store, words or store.names(), to)
    for path in made:
        print(path)


def _import(words: list[str], received: signals.Signals) -> None:
    from dtvg_jax.store import import_export
    from dtvg_jax.store.prompt_store import PromptStore

    if not words:
        raise InputError("name the prompts to import, as PATH or TASK=PATH")
    wanted = [
        import_export.parse_import(word, IMPORT.method, IMPORT.seed) for word in words
    ]
    p_init = files.expand_local(IMPORT.p_init, "the file") if IMPORT.p_init else None
    source, store = _source(IMPORT.backbone), PromptStore(IMPORT.store)
    import_export.import_prompts(store, wanted, source, IMPORT.dtype, p_init)


def _similarities(words: list[str], received: signals.Signals) -> None:
    from dtvg_jax.store import import_export
    from dtvg_jax.store.prompt_store import PromptStore

    store = PromptStore(SIMILARITIES.store)
    names = words or store.names()
    width = max(map(len, names), default=0)
    for name, row in zip(names, import_export.similarities(store, names), strict=True):
        print(f"{name:{width}}", *(f"{value:11.4g}" for value in row))


def _backbone(words: list[str], received: signals.Signals) -> None:
    from dtvg_jax.formats.load import open_source
    from dtvg_jax.store import import_export

    source = open_source(BACKBONE.backbone)
    out = files.expand_local(BACKBONE.out, "the new backbone")
    import_export.convert_backbone(
        source, BACKBONE.format, out, BACKBONE.dtype, BACKBONE.step
    )
    print(f"{source.name} -> {out}")


def _source(backbone: str | None) -> "Source | None":
    from dtvg_jax.formats.load import open_source

    return open_source(backbone) if backbone else None


COMMANDS = {
    "export": command.Command(
        "Writes prompts of a store to files.", EXPORT, _export, ENTRIES
    ),
    "import": command.Command(
        "Puts prompt files into a store.", IMPORT, _import, "PATH or TASK=PATH, ..."
    ),
    "similarities": command.Command(
        "Prints the similarities of task vectors.", SIMILARITIES, _similarities, ENTRIES
    ),
    "backbone": command.Command("Writes a T5 in another format.", BACKBONE, _backbone),
}


def run(arguments: Sequence[str] = sys.argv) -> None:
    """Runs the command that the first argument names, with the arguments after it."""
    # Files are converted on the host; an accelerator would only be in the way.
    os.environ["JAX_PLATFORMS"] = "cpu"
    name = arguments[1] if len(arguments) > 1 else ""
    if name in COMMANDS:
        command.run(COMMANDS[name], arguments[1:])
    if name in command.HELP:
        print(__doc__)
        for name, one in COMMANDS.items():
            print(f"{name}: {command.usage(one)}\n")
        sys.exit(0)
    if not name:
        command.fail(f"name a command: {', '.join(COMMANDS)}")
    command.fail(str(errors.unknown("command", name, COMMANDS)))


if __name__ == "__main__":
    run()
