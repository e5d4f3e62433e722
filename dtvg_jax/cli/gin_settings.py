"""Reads settings from gin files and bindings; only `cli` knows gin."""

import io
import pathlib
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from absl import flags
from gin.config import _FILE_READERS, register_file_reader

import gin
from dtvg_jax import files
from dtvg_jax.cli import gin_errors
from dtvg_jax.errors import InputError, check_field_types

PACKAGE = pathlib.Path(__file__).parent
T = TypeVar("T")


class _Text(io.StringIO):
    """A gin file as gin reads it; `name` is for its error messages."""

    def __init__(self, path: str):
        super().__init__(files.read_text(files.expand(path)))
        self.name = path


register_file_reader(
    _Text,
    lambda path: files.expand(path).is_file(),
)
# gin tries its readers in turn, its own first: that one takes the byte order mark that
# editors on Windows write for a word, and does not know `~`.
_FILE_READERS.insert(0, _FILE_READERS.pop())


class GinFlags(NamedTuple):
    """The flags of a command that reads gin files."""

    files: flags.FlagHolder[list[str]]
    bindings: flags.FlagHolder[list[str]]
    search_paths: flags.FlagHolder[list[str]]


def define_flags(known: flags.FlagValues) -> GinFlags:
    """Adds the flags that gin needs to those of a command."""
    return GinFlags(
        flags.DEFINE_multi_string(
            "gin_file",
            [],
            "A gin file; may be repeated, a later file overrides.",
            flag_values=known,
        ),
        flags.DEFINE_multi_string(
            "gin_bindings",
            [],
            "NAME = VALUE, applied after all files; short: --gin.NAME=VALUE.",
            flag_values=known,
        ),
        flags.DEFINE_list(
            "gin_search_paths",
            [],
            "Further folders to look for gin files in.",
            flag_values=known,
        ),
    )


def configure(configurable: Callable[..., T], given: GinFlags) -> T:
    """Calls a function or class with the settings of the gin files and bindings.

    A file is looked for in the working directory, in --gin_search_paths, beside the
    package's gin/ and in it. Raises InputError for a missing file, a mistyped or
    unused binding, a value of a wrong type, naming the place and the nearest valid
    name.
    """
    if not given.files.value:
        raise InputError("no settings: give --gin_file=FILE, such as one of gin/runs/")
    asked = [str(files.expand(folder)) for folder in given.search_paths.value]
    folders = [*asked, str(PACKAGE), str(PACKAGE / "gin")]
    bindings = given.bindings.value
    lines = gin_errors.read_lines(given.files.value, bindings, [".", *folders])
    for folder in folders:
        gin.add_config_file_search_path(folder)
    for file in given.files.value:
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
    """Formats the settings that were in force as a gin file."""
    return gin.operative_config_str()
