"""Keeps compiled programs on disk, so that a second start does not compile."""

import os
import tempfile
import warnings

from dtvg_jax import files


def enable(cache_dir: str | os.PathLike[str]) -> None:
    """Lets JAX keep compiled programs in `cache_dir`/xla, if that can be written.

    JAX_COMPILATION_CACHE_DIR takes precedence. Raises InputError if other users can
    write there: programs that are read back are run.
    """
    import jax

    # An entry that cannot be read or written costs time only; code that needs the space
    # reports a full disk.
    warnings.filterwarnings(
        "ignore", "Error (reading|writing) persistent compilation cache entry"
    )
    # Otherwise half of the time of a warm start goes into programs that compile in less
    # than a second each.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    try:
        folder = files.private_folder(files.private_folder(cache_dir) / "xla")
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
