"""Turns gin's errors into one sentence, with the place and the nearest right name."""

import contextlib
import difflib
import importlib
import inspect
import os
import pathlib
import pkgutil
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from dtvg_jax import files
from dtvg_jax.errors import InputError, nearest

Configurable = Callable[..., object]

_BINDING = re.compile(r"\s*([\w./]+)\s*=")
_INCLUDE = re.compile(r"""include\s+["'](.+)["']""")
_IMPORT = re.compile(r"(?:from (\S+) )?import (\S+)(?: as (\S+))?")
_REFERENCE = re.compile(r"[%@]([\w./]+)")
_LEFT = re.compile(r"^([\w./]+) =", re.MULTILINE)

_PLACE = re.compile(r'file "([^"]+)", line (\d+)')
_OWNER = re.compile(r"In call to configurable '(\S+)' .*?(?: in scope '(\S+)')?$", re.M)
_PARAMETER = re.compile(r"Configurable '(\S+)' doesn't have a parameter named '(\S+)'")
_NO_SUCH = re.compile(
    r"No configurable matching (?:reference '@)?'?([\w.]+)"
    r"|Couldn't resolve selector ([\w.]+);"
)
_NOT_IMPORTED = re.compile(r"'(\w+)' was not provided by an import")
_NO_MODULE = re.compile(r"No module named '(\S+)'")
_NO_MACRO = re.compile(r"No bindings specified for '(\S+)/gin.macro'")
_REQUIRED = re.compile(r"(\S+?)(?:/macro\.value)? set to `%gin\.REQUIRED`")
_MISSING = re.compile(r"missing \d+ required .*?: (.*)")
_NO_VALUE = re.compile(r"Failed to parse token '(.*)'")

PLAIN = {
    "Unable to parse value.": "a value is missing, or is not a literal",
    "Couldn't parse statement, expected ':' or '='.": "it is not NAME = VALUE",
    "Expected newline.": "more follows the value, which must be one literal",
}


class Line(NamedTuple):
    """A line of a gin file, or a binding of the command line."""

    place: str  # "gin/runs/quickstart.gin, line 3" or "--gin.NAME=VALUE"
    text: str

    @property
    def name(self) -> str:
        """The name that the line binds, with its scope; empty if it binds none."""
        found = _BINDING.match(self.text)
        return found[1] if found else ""


def read_lines(
    files: Sequence[str],
    bindings: Sequence[str],
    folders: Sequence[str | os.PathLike[str]],
) -> list[Line]:
    """Reads the lines of gin files, their includes, and bindings, in gin's order.

    Raises InputError for a file that is absent, is not text, or includes itself.
    """
    lines = [line for file in files for line in _file_lines(file, "", folders, ())]
    return lines + [Line(flag(binding), binding) for binding in bindings]


def flag(binding: str) -> str:
    """Formats a binding as it is given on the command line."""
    return "--gin." + binding.replace(" = ", "=", 1)


@contextlib.contextmanager
def as_sentences(lines: Sequence[Line], place: str = "") -> Iterator[None]:
    """Converts what gin, or a class it calls, raises inside to InputErrors.

    Args:
      lines: all settings, to find names and places in.
      place: the file or binding being read, where gin does not say the line.
    """
    try:
        yield
    except InputError as error:
        first = str(error).partition("\n")[0]
        raise _error(_value_place(str(error), lines), first) from None
    except SyntaxError as error:
        if error.filename and not error.filename.startswith("<"):
            place = f"{error.filename}, line {error.lineno}"
        raise _error(place, _syntax(str(error.msg))) from None
    except tokenize.TokenError:
        raise _error(place, "a bracket or quote is not closed") from None
    except RecursionError:
        raise _error(*_cycle(lines)) from None
    except (
        ValueError,
        TypeError,
        LookupError,
        NameError,
        AttributeError,
        ImportError,
        OSError,
    ) as error:
        found = _PLACE.search(str(error))
        place = f"{found[1]}, line {found[2]}" if found else place
        raise _error(*_gin_sentence(str(error), place, lines)) from None


def check_all_used(config: str, operative: str, lines: Sequence[Line]) -> None:
    """Raises InputError for a binding that nothing has read.

    A binding that a later one of a scope overrides is not a mistake: layers do that.

    Args:
      config: gin's text of all bindings.
      operative: gin's text of what was read, under the scopes it was read in.
    """
    bound, read = _LEFT.findall(config), _LEFT.findall(operative)
    used = {next((n for n in _outward(r) if n in bound), None) for r in read}
    for name in bound:
        if name in used:
            continue
        at = _position(name, lines)
        place = lines[at].place if at >= 0 else ""
        over = [r for r in read if name in _outward(r) and r in bound]
        if not over:
            near = _nearest(name, read)
            raise _error(place, f"{name} is set but nothing reads it{near}")
        if all(_position(other, lines) < at for other in over):
            raise _error(place, f"{name} has no effect: set {', '.join(over)}")


def _error(place: str, sentence: str) -> InputError:
    return InputError(f"{place}: {sentence}" if place else sentence)


def _file_lines(
    file: str,
    asked: str,
    folders: Sequence[str | os.PathLike[str]],
    within: tuple[files.Path, ...],
) -> list[Line]:
    path = files.expand(file)
    # An absolute path, or one of the home folder, is the same in all folders.
    alone = path.is_absolute()
    places = [path] if alone else [files.expand(one) / path for one in folders]
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        folder = next((path for path in places if path.is_dir()), None)
        if folder:
            raise _error(asked, f"{file} is a folder: give a gin file in it")
        near = _nearest(
            pathlib.Path(file).name,
            {p.name for path in places for p in path.parent.glob("*.gin")},
        )
        raise _error(asked, f"there is no gin file {file}{near}")
    if path in within:
        raise _error(asked, f"{path} includes itself")
    try:
        text = files.read_text(path)
    except InputError as error:
        raise _error(asked, str(error)) from None
    lines = []
    for number, content in enumerate(text.splitlines(), 1):
        lines.append(Line(f"{path}, line {number}", content))
        if found := _INCLUDE.match(content):
            lines += _file_lines(found[1], lines[-1].place, folders, (*within, path))
    return lines


def _cycle(lines: Sequence[Line]) -> tuple[str, str]:
    """Finds a macro or class that refers to itself, and its place."""
    needs: dict[str, set[str]] = {}
    places: dict[str, str] = {}
    name = ""
    for line in lines:
        if bound := line.name.rpartition("/")[2]:
            name = bound.rpartition(".")[0] or bound
        # Without scopes: a setting without one holds in all of them.
        found = {one.rpartition("/")[2] for one in _REFERENCE.findall(line.text)}
        needs.setdefault(name, set()).update(found)
        places |= {name: line.place} if found else {}
    for name in needs:
        reached, new = set[str](), needs[name]
        while new:
            reached |= new
            new = {far for near in new for far in needs.get(near, ())} - reached
        if name in reached:
            return places[name], f"{name} refers to itself"
    return "", "settings refer to themselves"


def _syntax(message: str) -> str:
    if found := _NO_VALUE.search(message):
        return f"{found[1]} is not a value: text needs quotes, '{found[1]}'"
    first = message.partition("\n")[0]
    return PLAIN.get(first, first.rstrip("."))


def _gin_sentence(message: str, place: str, lines: Sequence[Line]) -> tuple[str, str]:
    """Gives the place and the sentence for a message of gin."""
    if found := _NO_MACRO.search(message):
        users = [
            line.place for line in lines if re.search(rf"%{found[1]}\b", line.text)
        ]
        macros = [line.name for line in lines if line.name and "." not in line.name]
        near = _nearest(found[1], macros)
        return users[-1] if users else "", f"the macro {found[1]} is never set{near}"
    if found := _REQUIRED.search(message):
        at = _position(found[1], lines)
        name = lines[at].name
        return lines[at].place, f"{name} is required: give --gin.{name}=VALUE"
    if found := _MISSING.search(message):
        return _missing(found[1], message, lines)
    if found := _PARAMETER.search(message):
        target, parameter = found.groups()
        near = _nearest(parameter, _parameters(_valid_names(lines).get(target)))
        return place, f"{target} has no setting {parameter!r}{near}"
    if found := _NO_SUCH.search(message):
        name = (found[1] or found[2]).rstrip(".")
        return place, _no_such(name, place, _valid_names(lines))
    if found := _NOT_IMPORTED.search(message):
        near = _nearest(found[1], _imported(lines))
        return place, f"{found[1]!r} is not imported in this file{near}"
    if found := _NO_MODULE.search(message):
        near = _nearest(found[1], _modules_beside(found[1]))
        return place, f"there is no module {found[1]!r}{near}"
    return place, message.partition("\n")[0].rstrip(".")


def _no_such(name: str, place: str, valid: Iterable[str]) -> str:
    """Says what a name lacks that gin does not know: it may well be a valid one."""
    if name not in valid:
        return f"there is nothing called {name!r}{_nearest(name, valid)}"
    if place.startswith(flag("")):
        return (
            f"no gin file sets or refers to {name!r}, so a flag cannot: "
            "set it in a file"
        )
    return (
        f"{name!r} is not found without the line "
        "`from __gin__ import dynamic_registration` at the top of the file"
    )


def _missing(parameters: str, message: str, lines: Sequence[Line]) -> tuple[str, str]:
    """Names the settings that a class lacks, and one that may have been meant."""
    owner, scope = _owner(message)
    prefix = f"{scope}/" if scope else ""
    place, name = "", owner
    for line in lines:
        if found := re.search(rf"@({prefix}[\w.]*\b{owner})\(\)", line.text):
            place, name = line.place, found[1]
    first = re.findall(r"'(\w+)'", parameters)[0]
    near = difflib.get_close_matches(
        f"{name}.{first}", [line.name for line in lines], 1, cutoff=0.9
    )
    hint = f": {near[0]} is set, is that meant?" if near else ": set what is missing"
    return place, f"{name} needs {parameters}{hint}"


def _value_place(message: str, lines: Sequence[Line]) -> str:
    """Finds the line that set what a class refuses: "steps = 0: it must be ..."."""
    first = message.partition("\n")[0]
    scope, _, parameter = first.split(" ")[0].rpartition(".")
    scope = scope or _owner(message)[1]
    named = [
        line
        for line in lines
        if line.name.endswith(f".{parameter}") and _scope(line) in ("", scope)
    ]
    if not named and (literal := re.search(r"'([^']+)'", first)):
        quoted = (f"'{literal[1]}'", f'"{literal[1]}"')
        named = [line for line in lines if any(q in line.text for q in quoted)]
    scoped = [line for line in named if _scope(line)]
    return (scoped or named)[-1].place if named else scope


def _owner(message: str) -> tuple[str, str]:
    """Finds the class that gin was calling, and the scope."""
    found = _OWNER.search(message)
    return (found[1], found[2] or "") if found else ("", "")


def _scope(line: Line) -> str:
    return line.name.rpartition("/")[0]


def _position(name: str, lines: Sequence[Line]) -> int:
    """Finds the last line that binds a name; either may abbreviate its module."""
    scope, _, selector = name.rpartition("/")
    at = [
        i
        for i, line in enumerate(lines)
        if _scope(line) == scope
        and (short := line.name.rpartition("/")[2])
        and (
            f".{selector}".endswith(f".{short}") or f".{short}".endswith(f".{selector}")
        )
    ]
    return at[-1] if at else -1


def _outward(name: str) -> list[str]:
    """Lists the bindings that a name is read from, its own scope first."""
    *scopes, last = name.split("/")
    return ["/".join([*scopes[:n], last]) for n in range(len(scopes), -1, -1)]


def _nearest(name: str, known: Iterable[str]) -> str:
    # Names of settings are long and share their ends: half of one is a good guess.
    return nearest(name, known, cutoff=0.5)


def _parameters(configurable: Configurable | None) -> list[str]:
    return list(inspect.signature(configurable).parameters) if configurable else []


def _imported(lines: Sequence[Line]) -> dict[str, str]:
    """Lists the names that gin files import, with their modules."""
    found = {}
    for line in lines:
        if (match := _IMPORT.match(line.text)) and match[1] != "__gin__":
            package, name, alias = match.groups()
            found[alias or name] = f"{package}.{name}" if package else name
    return found


def _valid_names(lines: Sequence[Line]) -> dict[str, Configurable]:
    """Lists the public callables of the modules that gin files import."""
    valid = {}
    for name, module in _imported(lines).items():
        with contextlib.suppress(ImportError):
            valid |= {
                f"{name}.{key}": value
                for key, value in vars(importlib.import_module(module)).items()
                if callable(value) and not key.startswith("_")
            }
    return valid


def _modules_beside(module: str) -> list[str]:
    package = module.rpartition(".")[0]
    if not package:
        return ["dtvg_jax", "tasks"]
    path = getattr(importlib.import_module(package), "__path__", [])
    return [f"{package}.{found.name}" for found in pkgutil.iter_modules(path)]
