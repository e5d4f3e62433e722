"""Prompt methods by name. A new one is a file beside this and a line below."""

import dataclasses
import importlib
from collections.abc import Sequence

from dtvg_jax import files
from dtvg_jax.errors import InputError, unknown
from dtvg_jax.files import JsonObject
from dtvg_jax.methods import (
    attempt,
    controls,
    dtvg,
    merges,
    mpt,
    prompt_tuning,
    subset,
)
from dtvg_jax.methods.method import (
    PER_LANE,
    Context,
    Method,
    Start,
    compiled_in,
    described,
)

__all__ = [
    "METHODS",
    "PER_LANE",
    "Context",
    "Method",
    "Start",
    "by_name",
    "described",
    "of_settings",
    "resolve",
]

METHODS: dict[str, Method] = {
    method.name: method
    for methods in (
        prompt_tuning.METHODS,
        dtvg.METHODS,
        subset.METHODS,
        controls.METHODS,
        merges.METHODS,
        mpt.METHODS,
        attempt.METHODS,
    )
    for method in methods
}


def by_name(name: str) -> Method:
    """Finds a method of this package, or by "my_package.my_file:METHOD" a user's.

    Raises InputError that names the nearest one, or says what cannot be imported.
    """
    if ":" in name:
        return _imported(name)
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def resolve(given: str | Method, settings: Sequence[Method] = ()) -> Method:
    """Finds a method that may be given by its name.

    A named one takes from `settings` of its class, or of a class that its own extends,
    the fields that it leaves at their defaults.
    """
    if isinstance(given, Method):
        return given
    method = by_name(given)
    for one in settings:
        if isinstance(method, type(one)):
            fields = {
                field.name: getattr(one, field.name)
                for field in dataclasses.fields(one)
                if getattr(method, field.name) == field.default
            }
            method = dataclasses.replace(method, **fields)
    return method


def of_settings(settings: JsonObject) -> Method:
    """Makes the method of an entry's settings, without what is not compiled in.

    Nothing is imported for it, since an entry is data: raises InputError where the
    class is neither of this package nor imported, or has other fields.
    """
    found: list[type[Method]] = [Method]
    for cls in found:
        found += cls.__subclasses__()
    named = {f"{cls.__module__}:{cls.__qualname__}": cls for cls in found}
    path = str(settings.get("class"))
    if path not in named:
        raise InputError(
            f"the method {path!r} is not of this package: import its module first"
        )
    known = {field.name for field in dataclasses.fields(named[path])}
    if other := sorted(set(settings) - known - {"class"}):
        raise InputError(
            f"the method {path!r} has no field {other[0]!r} in this version"
        )
    compiled = compiled_in(settings, named[path])
    return files.record(named[path], compiled, f"the method {path!r}")


def _imported(path: str) -> Method:
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"the method {path!r} cannot be imported ({error}): a method of your own "
            "is named 'my_package.my_file:METHOD'"
        ) from None
    if not isinstance(found, Method):
        raise InputError(
            f"{path!r} is {found!r}: it must be a `dtvg_jax.methods.Method`"
        )
    return found
