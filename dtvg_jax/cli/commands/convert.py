"""Command: prompts and backbones from and to other programs' formats.

python -m dtvg_jax.convert export --store DIR --format peft --backbone B --out DIR
python -m dtvg_jax.convert import --store DIR --backbone B sst2=adapter rte=rte.npy
python -m dtvg_jax.convert similarities --store DIR
python -m dtvg_jax.convert backbone --backbone B --format t5x --out DIR
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import jax

from dtvg_jax.errors import InputError
from dtvg_jax.formats.load import DTYPES, Source, open_source
from dtvg_jax.store import import_export
from dtvg_jax.store.prompt_store import PromptStore

WHERE = "a Hugging Face or T5X folder, or miniature"
ENTRY = "entries of the store, <task>/<method>-seed<n>; all if none is named"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; bad input is a sentence on standard error, and exit status 2."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}.", file=sys.stderr)
        return 2
    return 0


def _export(options: argparse.Namespace) -> None:
    prompt_store = PromptStore(options.store)
    names = options.entries or prompt_store.names()
    out, source = pathlib.Path(options.out), _source(options)
    to = import_export.Target(out, options.format, source, options.base_model)
    made = import_export.export_prompts(prompt_store, names, to)
    for path in made:
        print(path)


def _import(options: argparse.Namespace) -> None:
    wanted = [
        import_export.parse_import(given, options.method, options.seed)
        for given in options.prompts
    ]
    p_init = pathlib.Path(options.p_init) if options.p_init else None
    import_export.import_prompts(
        PromptStore(options.store), wanted, _source(options), options.dtype, p_init
    )


def _similarities(options: argparse.Namespace) -> None:
    prompt_store = PromptStore(options.store)
    names = options.entries or prompt_store.names()
    wide = max(map(len, names), default=0)
    for i, row in enumerate(import_export.similarities(prompt_store, names)):
        print(f"{names[i]:{wide}}", *(f"{value:11.4g}" for value in row))


def _backbone(options: argparse.Namespace) -> None:
    source, out = open_source(options.backbone), pathlib.Path(options.out)
    import_export.convert_backbone(
        source, options.format, out, options.dtype, options.step
    )
    print(f"{source.name} -> {out}")


def _source(options: argparse.Namespace) -> Source | None:
    return open_source(options.backbone) if options.backbone else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dtvg_jax.convert")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(run=run)
        return made

    made = command("export", _export, "prompts of a store to files")
    made.add_argument("--store", required=True, help="folder of the prompt store")
    made.add_argument("--format", required=True, choices=import_export.FORMATS)
    made.add_argument("--out", required=True, help="folder to write into")
    made.add_argument("--backbone", help=f"what the prompts are for: {WHERE}")
    default = "model that a PEFT adapter names; by default the backbone's folder"
    made.add_argument("--base_model", help=default)
    made.add_argument("entries", nargs="*", help=ENTRY)

    made = command("import", _import, "files to prompts of a store")
    made.add_argument("--store", required=True, help="folder of the prompt store")
    made.add_argument("--backbone", help=f"what the prompts are for: {WHERE}")
    made.add_argument("--dtype", default="float32", choices=DTYPES)
    made.add_argument("--method", default="imported", help="in the entry's name")
    made.add_argument("--seed", type=int, default=0, help="likewise, and of P_init")
    start = "a prompt file that the prompts started from, instead of --seed's"
    made.add_argument("--p_init", help=start)
    made.add_argument("prompts", nargs="+", help="PATH or TASK=PATH")

    made = command("similarities", _similarities, "of the task vectors of a store")
    made.add_argument("--store", required=True, help="folder of the prompt store")
    made.add_argument("entries", nargs="*", help=ENTRY)

    made = command("backbone", _backbone, "a T5 to another format")
    made.add_argument("--backbone", required=True, help=WHERE)
    made.add_argument("--format", required=True, choices=import_export.BACKBONE_FORMATS)
    made.add_argument("--out", required=True, help="a new folder")
    made.add_argument("--dtype", default="float32", choices=DTYPES)
    made.add_argument("--step", type=int, default=0, help="in a T5X folder's name")
    return parser


if __name__ == "__main__":
    # Files are converted on the host; an accelerator would only be in the way.
    jax.config.update("jax_platforms", "cpu")
    sys.exit(main())
