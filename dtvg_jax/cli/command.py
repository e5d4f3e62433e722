"""Runs a command: its flags, its help, and its exit code.

Exit codes: 2, with one sentence, for what the user can put right; 128 + the signal's
number if one stopped the command; 1, with a traceback, for a fault of the program.
"""

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from absl import flags

from dtvg_jax import errors
from dtvg_jax.cli import (
    host_settings,
    processes,
    quiet_imports,
    signals,
    standard_streams,
    system_errors,
)
from dtvg_jax.errors import InputError

BAD_INPUT = 2
HELP = {"--help", "-help", "-h"}
# What a flag takes, by absl's name of its type.
_VALUES = {
    "string": "TEXT",
    "int": "INTEGER",
    "multi string": "TEXT",
    "comma separated list of strings": "TEXT,...",
}


class Command(NamedTuple):
    """A command.

    about: the head of its help
    flags: those of this command alone, so that commands can be imported together
    main: takes the words that are not flags, and the signals, which stop it at once
        unless it asks them to wait
    words: what those words are, for the help; empty if the command takes none
    resumes: the same command continues one that ended early
    """

    about: str
    flags: flags.FlagValues
    main: Callable[[list[str], signals.Signals], None]
    words: str = ""
    resumes: bool = False


class _End(NamedTuple):
    """How a command has ended: its exit code and last message."""

    code: int
    message: str = ""  # for standard error


def run(command: Command, arguments: Sequence[str]) -> NoReturn:
    """Runs a command with `arguments`, its name first, and ends the process."""
    try:
        end = _run(command, arguments)
    except Exception:
        if not processes.started():
            raise
        # Python would first wait for the others, which JAX then says are lost.
        end = _End(processes.BUG, traceback.format_exc().rstrip())
    if end.message:
        print(end.message, file=sys.stderr)
    processes.leave(end.code)
    sys.exit(end.code)


def _run(command: Command, arguments: Sequence[str]) -> _End:
    """Runs a command: the one place where errors become sentences."""
    try:
        with signals.received() as received:
            quiet_imports.quiet_libraries()
            standard_streams.prepare()
            if HELP & set(arguments):
                print(usage(command))
            else:
                _add_working_directory_to_path()
                words = parse(command, arguments)
                if host_settings.wanted(command.flags):
                    host_settings.apply(arguments)
                command.main(words, received)
            sys.stdout.flush()
    except errors.Stopped as stopped:
        again = " to resume" if command.resumes else ""
        message = f"stopped: run the same command again{again}"
        return _End(128 + stopped.args[0], message)
    except SystemExit:  # which rich raises when a pipe is closed, as `| head` does
        return _End(BAD_INPUT, f"error: {standard_streams.CLOSED}")
    except Exception as error:
        sentence = _sentence_of(error, command.resumes)
        if sentence is None:
            raise
        return _End(BAD_INPUT, f"error: {sentence}")
    return _End(0)


def _sentence_of(error: Exception, resumes: bool) -> str | None:
    """Gives the sentence of an error that the user can put right; None for others."""
    if isinstance(error, InputError):
        return str(error)
    if gone := processes.sentence(error):
        return gone
    lost = standard_streams.lost_output(error)
    return lost or system_errors.sentence(error, resumes)


def say_strays(strays: Sequence[str]) -> None:
    """Lists on standard error the folders of a store that are not entries."""
    if strays:
        print(f"skipped, not entries: {', '.join(strays)}", file=sys.stderr)


def fail(sentence: str) -> NoReturn:
    """Ends the process with a sentence about a mistake of the user."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(BAD_INPUT)


def usage(command: Command) -> str:
    """Formats the help of a command: what it does, and its flags."""
    lines = [command.about.strip(), ""]
    if command.words:
        lines += [f"Arguments: {command.words}", ""]
    lines.append("Flags:")
    for name in command.flags:
        lines += _flag_usage(command.flags[name])
    return "\n".join(lines)


def _flag_usage(flag: flags.Flag[object]) -> list[str]:
    head = f"--{flag.name}={_VALUES.get(flag.flag_type(), flag.flag_type())}"
    if isinstance(flag.parser, flags.EnumParser):
        head = f"--{flag.name}={'|'.join(flag.parser.enum_values)}"
    if flag.boolean:
        head = f"--[no]{flag.name}"
    default = f"  (default: {flag.default})" if flag.default not in (None, []) else ""
    # absl adds to some texts what the line above already shows.
    about = re.sub(r"^<\S+>: |;\n\s+repeat this option .*", "", flag.help)
    return [f"  {head}{default}", f"      {about}"]


def parse(command: Command, arguments: Sequence[str]) -> list[str]:
    """Sets the flags of a command; returns the words that are not flags.

    Raises InputError for a flag that is unknown, absent or of a wrong type.
    """
    # A second run in one process starts from the defaults, not from the first's flags.
    command.flags.unparse_flags()
    try:
        words = command.flags(_with_bindings(arguments))[1:]
    except flags.UnrecognizedFlagError as error:
        near = errors.nearest(f"--{error.flagname}", [f"--{x}" for x in command.flags])
        raise InputError(f"there is no flag --{error.flagname}{near}") from None
    except flags.Error as error:
        raise InputError(_sentence(str(error))) from None
    if words and not command.words:
        raise InputError(f"{words[0]!r} is not a flag: flags begin with --")
    for name in command.flags:
        # An empty path would be the working directory.
        value = command.flags[name].value
        if value == "" or (isinstance(value, list) and "" in value):
            raise InputError(f"--{name} is empty: give a value, or leave it out")
    return words


def _sentence(message: str) -> str:
    """Makes one sentence of absl's message, which has a line for each flag."""
    message = re.sub(r"^flag (?=--)", "", message, flags=re.MULTILINE)
    missing = r"^--(\S+)=None: Flag .* must have a value other than None\.$"
    message = re.sub(missing, r"--\1 is required", message, flags=re.MULTILINE)
    message = re.sub(r"invalid literal for int.*", "it must be a whole number", message)
    # Some messages are the text of a tuple: ('Non-boolean ...', 'maybe').
    return re.sub(r"\('(.*)', '.*'\)$", r"\1", message).replace("\n", ", ")


def _with_bindings(arguments: Sequence[str]) -> list[str]:
    """Rewrites `--gin.NAME=VALUE` as a flag that absl knows."""
    return [
        re.sub(r"^--?gin\.([^=]+)=?", r"--gin_bindings=\1 = ", argument)
        for argument in arguments
    ]


def _add_working_directory_to_path() -> None:
    """Lets a console script find a user's modules as `python -m` does.

    The directory comes last, so that nothing in it hides an installed package.
    """
    if not sys.flags.safe_path and not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())
