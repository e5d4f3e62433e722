"""Silences what libraries print while they are imported."""

import contextlib
import importlib.abc
import importlib.machinery
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType


def quiet_libraries() -> None:
    """Silences TensorFlow, absl and gin; call it before TensorFlow is imported.

    While TensorFlow loads, its C++ writes to standard error before any of its settings
    take effect, so that stream is /dev/null for that time.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Before a library does: its format would name the module of each warning.
    logging.basicConfig(format="%(levelname)s: %(message)s")
    # Orbax sets absl's log level again. asyncio logs an exception for every array of a
    # checkpoint that cannot be written; the first one is raised.
    for name in ("absl", "asyncio"):
        logging.getLogger(name).disabled = True
    # gin logs every folder in which it did not find a file, as errors.
    logging.getLogger().addFilter(lambda record: record.module != "resource_reader")
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Iterable[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, None, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def quietly(module: ModuleType) -> None:
                with _no_standard_error():
                    execute(module)

            spec.loader.exec_module = quietly
        return spec


@contextlib.contextmanager
def _no_standard_error() -> Iterator[None]:
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
