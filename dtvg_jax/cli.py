"""Flags, gin, signals and exit codes: what the commands have in common.

Nothing else in the package knows gin or flags. Exit codes: 2 for what the user can put
right, said in a sentence; 128 + the signal's number where one stopped a job.
"""

import contextlib
import os
import pathlib
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from absl import app, flags, logging

import gin
from dtvg_jax import gin_errors
from dtvg_jax.errors import InputError, Stopped

GIN_FILES = flags.DEFINE_multi_string(
    "gin_file", [], "A gin file, first to last; more than one may be given."
)
BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "A setting, NAME = VALUE; --gin.NAME=VALUE is short for it."
)
SEARCH_PATHS = flags.DEFINE_list(
    "gin_search_paths", [], "Folders where gin files are looked for, with commas."
)

BAD_INPUT = 2
PACKAGE = pathlib.Path(__file__).parent


Check = Callable[[], None]
Main = Callable[[list[str], Check], None]


def run(main: Main, arguments: Sequence[str]) -> None:
    """Runs a command, main(arguments, check), with its flags; ends the process.

    `check` raises Stopped once SIGTERM or SIGINT has come. An InputError becomes its
    sentence on standard error.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    def guarded(rest: list[str]) -> None:
        logging.set_verbosity(logging.FATAL)  # our own sentences say what is wrong
        try:
            if rest[1:]:
                raise InputError(f"{rest[1]!r} is no flag: flags begin with --")
            with _stopping_on_signals() as check:
                main(list(arguments), check)
        except InputError as error:
            _fail(error)
        except Stopped as stopped:
            number = stopped.args[0] if stopped.args else signal.SIGINT
            print("Stopped; the same command goes on from here.", file=sys.stderr)
            sys.exit(128 + number)

    app.run(guarded, _with_bindings(arguments), flags_parser=_parse)


def configure(configurable: Callable[..., Any]) -> Any:
    """Calls a function or class with the settings of the gin files and bindings.

    Raises InputError for a missing file, a mistyped or unused binding, naming the
    nearest valid name.
    """
    files = GIN_FILES.value
    if not files:
        raise InputError("no settings: give --gin_file=FILE, such as one of gin/runs/")
    for folder in [*SEARCH_PATHS.value, str(PACKAGE)]:
        gin.add_config_file_search_path(folder)
    with gin_errors.as_sentences(files, [".", *SEARCH_PATHS.value, PACKAGE]):
        gin.parse_config_files_and_bindings(files, BINDINGS.value)
        made = gin.get_configurable(configurable)()
    gin_errors.check_all_used(gin.config_str(), gin.operative_config_str())
    return made


def operative_config() -> str:
    """Writes the settings that were in force, as a gin file."""
    return gin.operative_config_str()


def cache_compilations(cache_dir: str) -> None:
    """Lets JAX keep compiled programs in a folder, where it can be written."""
    import jax

    folder = pathlib.Path(cache_dir).expanduser() / "xla"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))


@contextlib.contextmanager
def _stopping_on_signals() -> Iterator[Check]:
    """Yields a check that raises Stopped once SIGTERM or SIGINT has come.

    So a step is finished and its state saved; a second signal interrupts at once.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if received:
            raise KeyboardInterrupt
        received.append(number)
        print(f"{signal.Signals(number).name}: stopping after this step", flush=True)

    def check() -> None:
        if received:
            raise Stopped(received[0])

    before = {n: signal.signal(n, note) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _with_bindings(arguments: Sequence[str]) -> list[str]:
    """Spells `--gin.NAME=VALUE` as a flag that absl knows."""
    return [
        re.sub(r"^--gin\.([^=]+)=?", r"--gin_bindings=\1 = ", argument)
        for argument in arguments
    ]


def _parse(arguments: list[str]) -> list[str]:
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        _fail(error)
        raise


def _fail(error: Exception) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(BAD_INPUT)
