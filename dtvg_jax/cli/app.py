"""Flags, gin, signals and exit codes: what the commands have in common.

Nothing else in the package knows gin or flags. Exit codes: 2 for what the user can put
right, said in a sentence; 128 + the signal's number where one stopped a job.
"""

import contextlib
import os
import pathlib
import re
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags

import gin
from dtvg_jax.cli import gin_errors, quiet_imports
from dtvg_jax.errors import InputError, Stopped, check_field_types

GIN_FILES = flags.DEFINE_multi_string(
    "gin_file", [], "A gin file; may be given again, a later one overrides."
)
BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "NAME = VALUE, after all files; in short --gin.NAME=VALUE."
)
SEARCH_PATHS = flags.DEFINE_list(
    "gin_search_paths", [], "Folders where gin files are looked for, with commas."
)

BAD_INPUT = 2
PACKAGE = pathlib.Path(__file__).parent
HELP = {"--help", "-help", "-h"}

Check = Callable[[], None]
Main = Callable[[list[str], Check], None]


def run(main: Main, arguments: Sequence[str]) -> None:
    """Runs a command, main(arguments, check), with its flags; ends the process.

    `check` raises Stopped once SIGTERM or SIGINT has come. An InputError becomes its
    sentence on standard error.
    """
    quiet_imports.quiet_libraries()
    if HELP & set(arguments):
        print(_usage(main))
        sys.exit(0)
    try:
        rest = flags.FLAGS(_with_bindings(arguments))
        if rest[1:]:
            raise InputError(f"{rest[1]!r} is no flag: flags begin with --")
        with _stopping_on_signals() as check:
            main(list(arguments), check)
    except (InputError, flags.Error) as error:
        # absl gives some of its messages as a tuple: ('Non-boolean ...', 'maybe').
        sentence = re.sub(r"\('(.*)', '.*'\)$", r"\1", str(error))
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except Stopped as stopped:
        print("Stopped; the same command goes on from here.", file=sys.stderr)
        sys.exit(128 + stopped.args[0])
    sys.exit(0)


def configure(configurable: Callable[..., Any]) -> Any:
    """Calls a function or class with the settings of the gin files and bindings.

    A file is looked for in the working directory, in --gin_search_paths, beside the
    package's gin/ and in it. Raises InputError for a missing file, a mistyped or
    unused binding, a value of a wrong type, naming the place and the nearest valid
    name.
    """
    files, bindings = GIN_FILES.value, BINDINGS.value
    if not files:
        raise InputError("no settings: give --gin_file=FILE, such as one of gin/runs/")
    folders = [*SEARCH_PATHS.value, str(PACKAGE), str(PACKAGE / "gin")]
    lines = gin_errors.read_lines(files, bindings, [".", *folders])
    for folder in folders:
        gin.add_config_file_search_path(folder)
    for file in files:
        with gin_errors.as_sentences(lines, file):
            gin.parse_config_file(file)
    for binding in bindings:
        with gin_errors.as_sentences(lines, gin_errors.flag(binding)):
            gin.parse_config(binding)
    with gin_errors.as_sentences(lines):
        gin.finalize()
        made = gin.get_configurable(configurable)()
        check_field_types(made)
    gin_errors.check_all_used(gin.config_str(), gin.operative_config_str(), lines)
    return made


def operative_config() -> str:
    """Writes the settings that were in force, as a gin file."""
    return gin.operative_config_str()


def cache_compilations(cache_dir: str) -> None:
    """Lets JAX keep compiled programs in a folder, where it can be written.

    A folder that the user named in JAX_COMPILATION_CACHE_DIR stays.
    """
    import jax

    # Half of the time of a warm start would go into programs of less than a second.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    folder = pathlib.Path(cache_dir).expanduser() / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))


@contextlib.contextmanager
def _stopping_on_signals() -> Iterator[Check]:
    """Yields a check that raises Stopped once SIGTERM or SIGINT has come.

    So a step is finished and its state saved; a second signal ends the process at
    once. A thread listens: handlers would have to wait while XLA compiles.
    """
    received: list[int] = []
    inbox, outbox = socket.socketpair()
    outbox.setblocking(False)

    def listen() -> None:
        while number := inbox.recv(1):
            if received:
                os._exit(128 + number[0])
            received.append(number[0])
            name = signal.Signals(number[0]).name
            print(f"{name}: stopping after this step; once more: at once", flush=True)

    def check() -> None:
        if received:
            raise Stopped(received[0])

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(outbox.fileno())
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {n: signal.signal(n, lambda *_: None) for n in numbers}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        outbox.close()
        thread.join()
        inbox.close()


def _with_bindings(arguments: Sequence[str]) -> list[str]:
    """Spells `--gin.NAME=VALUE` as a flag that absl knows."""
    return [
        re.sub(r"^--?gin\.([^=]+)=?", r"--gin_bindings=\1 = ", argument)
        for argument in arguments
    ]


def _usage(main: Main) -> str:
    """Writes the docstring of a command's module, and the flags."""
    module = main.__module__
    known = flags.FLAGS.flags_by_module_dict()
    own = known.get(sys.argv[0] if module == "__main__" else module, [])
    lines = [f"  --{f.name:18}{f.help}" for f in [*own, *known[__name__]]]
    return "\n".join([sys.modules[module].__doc__ or "", "Flags:", *lines])
