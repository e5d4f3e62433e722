"""An object store in memory behind gs://, for tests that need no emulator."""

import pytest
from etils.epath import backend, gpath
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from dtvg_jax.files import remote


class _Bucket(MemoryFileSystem):
    """Objects of one test."""

    protocol = ("gs", "gcs")  # type: ignore[assignment]
    store = {}
    pseudo_dirs = [""]

    @classmethod
    def _strip_protocol(cls, path):
        path = path.removeprefix("gs:/").removeprefix("gcs:/")
        return super()._strip_protocol("/" + path.lstrip("/"))

    def unstrip_protocol(self, name):
        return "gs:/" + self._strip_protocol(name)


def put_up(monkeypatch: pytest.MonkeyPatch) -> remote.Path:
    """Makes gs:// work for a test, in memory alone; returns an empty folder there."""
    _Bucket.store, _Bucket.pseudo_dirs = {}, [""]
    for name in _Bucket.protocol:
        monkeypatch.setitem(_registry, name, _Bucket)
    store = remote._STORES["gs"]._replace(package="fsspec")
    monkeypatch.setitem(remote._STORES, "gs", store)
    monkeypatch.setenv("EPATH_USE_TF", "false")
    gpath._is_tf_installed.cache_clear()
    backend._FileSystemSpecBackend._get_filesystem.cache_clear()
    folder = remote.of_address("gs://bucket/folder")
    assert folder is not None
    return folder
