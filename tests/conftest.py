"""What all tests share: strict JAX settings and the optional folder of real data."""

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Commands that tests start would else start themselves again, see cli/host_settings.py.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder `shared` beside the checkout: real data and golden values."""
    folder = pathlib.Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(
            "the folder 'shared' with real data does not lie beside the checkout"
        )
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder for token tables, generated data and compiled programs.

    One for all workers of a run: each makes what the others have not made yet.
    """
    from dtvg_jax import files  # when calls are checked, not before

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    programs = files.private_folder(files.private_folder(folder) / "xla")
    jax.config.update("jax_compilation_cache_dir", str(programs))
    return folder


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch):
    """An empty folder on gs://, in memory."""
    import fake_bucket  # when calls are checked, not before

    return fake_bucket.put_up(monkeypatch)
