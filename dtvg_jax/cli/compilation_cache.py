"""Keeps compiled programs on disk, so that a second start does not compile."""

import os
import tempfile
import warnings

from dtvg_jax import files


def enable(cache_dir: str | os.PathLike[str]) -> None:
    """Lets JAX keep compiled programs in `cache_dir`/xla, if it can be written.

    A folder that the user named in JAX_COMPILATION_CACHE_DIR stays. Raises InputError
    where other users can write: a program that is read back from there is run.
    """
    import jax

    # An entry that cannot be read or written costs time only; a full disk is said by
    # what needs it.
    warnings.filterwarnings(
        "ignore", "Error (reading|writing) persistent compilation cache entry"
    )
    # Half of the time of a warm start would go into programs of less than a second.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    try:
        folder = files.private_folder(files.private_folder(cache_dir) / "xla")
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
