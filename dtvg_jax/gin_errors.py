"""What gin says about a wrong file, in a sentence with the nearest right name."""

import contextlib
import difflib
import importlib
import inspect
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dtvg_jax.errors import InputError

_IMPORT = re.compile(r"^(?:from (\S+) )?import (\S+)", re.MULTILINE)
_PARAMETER = re.compile(r"Configurable '(\S+)' doesn't have a parameter named '(\S+)'")
_NO_SUCH = re.compile(
    r"No configurable matching '(\S+)'|Could not find (?:\S+ )*'(\S+)'"
)
_SCOPE = re.compile(r"in scope '(\S+)'")
_MISSING = re.compile(r"missing \d+ required .*?: (.*)")
_LEFT = re.compile(r"^([\w./]+) =", re.MULTILINE)


@contextlib.contextmanager
def as_sentences(
    files: Sequence[str], folders: Sequence[str | os.PathLike[str]]
) -> Iterator[None]:
    """Turns what gin raises inside into InputErrors.

    Args:
      files: the gin files, whose imports say which names are valid.
      folders: where they are looked for.
    """
    try:
        yield
    except InputError as error:
        first, _, rest = str(error).partition("\n")
        scope = _SCOPE.search(rest)
        raise InputError(f"{scope[1]}: {first}" if scope else first) from None
    except SyntaxError as error:
        text = f" {error.text.strip()!r}" if (error.text or "").strip() else ""
        place = f"{error.filename}, line {error.lineno}"
        if not error.filename or error.filename.startswith("<"):
            place = "a binding or gin file"
        raise InputError(f"{place}: {error.msg}{text}") from None
    except OSError as error:
        raise InputError(_absent(str(error), files, folders)) from None
    except (ValueError, TypeError, NameError, AttributeError, ImportError) as error:
        names = _valid_names(files, folders)
        raise InputError(_sentence(str(error), names)) from None


def check_all_used(config: str, operative: str) -> None:
    """Raises InputError for a binding that nothing has read.

    Args:
      config: gin's text of all bindings.
      operative: gin's text of those that were in force.
    """
    used = set(_LEFT.findall(operative))
    for name in _LEFT.findall(config):
        if name not in used:
            raise InputError(
                f"{name} is set but nothing reads it{_nearest(name, used)}"
            )


def _sentence(message: str, names: dict[str, Any]) -> str:
    first, _, rest = message.partition("\n")
    if found := re.search(r"No bindings specified for '(\S+)/gin.macro'", first):
        return f"the macro {found[1]} is used but never set: add {found[1]} = VALUE"
    where = _where(rest)
    if found := _PARAMETER.search(first):
        target, parameter = found.groups()
        known = _parameters(names.get(target))
        return (
            f"{target} has no setting {parameter!r}{_nearest(parameter, known)}{where}"
        )
    if found := _NO_SUCH.search(first):
        name = found[1] or found[2]
        return f"there is nothing called {name!r}{_nearest(name, names)}{where}"
    if found := _MISSING.search(first):
        owner = re.search(r"In call to configurable '(\S+)'", rest)
        return f"{owner[1] if owner else 'a setting'} needs {found[1]}: set them{where}"
    return first + where


def _where(rest: str) -> str:
    """Finds the file and line that gin's trailer names, or the binding."""
    if found := re.search(r'file "?([^"\n]+?)"?,? (?:on )?line (\d+)', rest):
        return f" ({found[1]}, line {found[2]})"
    lines = [line.strip() for line in rest.splitlines() if "=" in line]
    return f" (in {lines[-1]!r})" if lines else ""


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1, cutoff=0.5)
    return f": did you mean {near[0]!r}?" if near else ""


def _parameters(configurable: Any) -> list[str]:
    return list(inspect.signature(configurable).parameters) if configurable else []


def _valid_names(
    files: Sequence[str], folders: Sequence[str | os.PathLike[str]]
) -> dict[str, Any]:
    """Lists the public callables of the modules that gin files import."""
    valid = {}
    for file in files:
        text = next((p.read_text() for p in _places(file, folders) if p.is_file()), "")
        for package, name in _IMPORT.findall(text):
            module = f"{package}.{name}" if package else name
            with contextlib.suppress(ImportError):
                found = vars(importlib.import_module(module))
                valid |= {
                    f"{name}.{key}": value
                    for key, value in found.items()
                    if callable(value) and not key.startswith("_")
                }
    return valid


def _places(
    file: str, folders: Sequence[str | os.PathLike[str]]
) -> Iterator[pathlib.Path]:
    return (pathlib.Path(folder) / file for folder in folders)


def _absent(
    message: str, files: Sequence[str], folders: Sequence[str | os.PathLike[str]]
) -> str:
    for file in files:
        if not any(place.is_file() for place in _places(file, folders)):
            around = [
                p for f in folders for p in (pathlib.Path(f) / file).parent.glob("*")
            ]
            near = _nearest(pathlib.Path(file).name, {p.name for p in around})
            return f"there is no gin file {file}{near}"
    return message.partition("\n")[0]
