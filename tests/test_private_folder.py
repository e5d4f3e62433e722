"""Folders whose files are believed, or run, are written by their owner alone."""

import os
import pathlib
import types

import fake_table
import jax
import pytest

from dtvg_jax import files
from dtvg_jax.cli import compilation_cache
from dtvg_jax.data import token_table
from dtvg_jax.errors import InputError

WRITERS = "other users can write into the cache folder .*chmod go-w"


def open_table(cache):
    vocabulary = fake_table.ByteVocabulary()
    settings = token_table.TableSettings(vocabulary, (8, 4), cache, cache)
    token_table.token_table("rte", "test", settings)


def test_a_folder_is_made_for_its_owner_whatever_the_mask(tmp_path):
    mask = os.umask(0)
    try:
        made = files.private_folder(tmp_path / "cache")
    finally:
        os.umask(mask)
    assert made == tmp_path / "cache" and made.stat().st_mode & 0o777 == 0o700
    assert files.private_folder(made) == made


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_folder_that_others_can_write_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    with pytest.raises(InputError, match=WRITERS):
        files.private_folder(tmp_path)
    tmp_path.chmod(0o755)
    assert files.private_folder(tmp_path) == tmp_path


@pytest.mark.parametrize("owner, refused", [(0, False), (os.geteuid() + 1, True)])
def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch, owner, refused):
    found = types.SimpleNamespace(st_uid=owner, st_mode=0o40755)
    monkeypatch.setattr(pathlib.Path, "stat", lambda *_, **__: found)
    if not refused:
        files.private_folder(tmp_path)
        return
    with pytest.raises(InputError, match="belongs to another user.*of your own"):
        files.private_folder(tmp_path)


@pytest.mark.parametrize("inner", ["", "token_tables"])
def test_token_tables_of_others_are_not_opened(tmp_path, inner):
    data = tmp_path / "glue/rte/2.0.0"
    data.mkdir(parents=True)
    (data / "dataset_info.json").write_text("{}")
    (tmp_path / inner).mkdir(exist_ok=True)
    (tmp_path / inner).chmod(0o777)
    with pytest.raises(InputError, match=WRITERS):
        open_table(tmp_path)


@pytest.mark.parametrize("inner", ["", "xla"])
def test_programs_of_others_are_not_run(tmp_path, inner, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = jax.config.jax_compilation_cache_dir  # pyright: ignore
    (tmp_path / inner).mkdir(exist_ok=True)
    (tmp_path / inner).chmod(0o777)
    with pytest.raises(InputError, match=WRITERS):
        compilation_cache.enable(tmp_path)
    assert jax.config.jax_compilation_cache_dir == before  # pyright: ignore
