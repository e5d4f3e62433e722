"""Sentences for errors of the operating system, whichever library reports them."""

import errno
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from dtvg_jax.files import remote

RESUMES = ", and run the same command again: it resumes"


class _Cause(NamedTuple):
    """What is wrong, and what the user can do about it."""

    wrong: str
    remedy: str


_DISK = _Cause("the disk is full", "free some space")
_FILES = _Cause("too many files are open", "raise the limit, as `ulimit -n 4096` does")
_READ_ONLY = _Cause("the disk is read-only", "make it writable or give another folder")
_DENIED = _Cause(
    "permission is denied", "get access to it or give another file or folder"
)
_GONE = _Cause("it is not there, or not any more", "restore it or give another path")
_CAUSES = {
    errno.ENOSPC: _DISK,
    errno.EDQUOT: _Cause("your share of the disk is used up", "free some space"),
    errno.EFBIG: _Cause(
        "the file would be larger than is allowed", "raise the limit `ulimit -f`"
    ),
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOENT: _GONE,
    errno.ESTALE: _GONE,
    errno.EIO: _Cause("the disk cannot be read or written", "check the disk"),
}
_MEMORY = (
    "give a mesh with more fsdp (placement.Mesh) or a smaller evaluation_batch_size; "
    "for a new job also stages.Stage.remat = True or smaller batches"
)
_DEVICE = "end the process that holds it, or set JAX_PLATFORMS=cpu"
_STORE = "check the address, your access to it and the network"
_OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|Ran out of memory")
_NO_DEVICE = "Unable to initialize backend"
# Error codes in messages of TensorStore, and of libraries written in Rust.
_CODE = re.compile(r"os_error_code='(\d+)'|\(os error (\d+)\)")
# TensorFlow's messages have the text of the error only.
_BY_TEXT = {os.strerror(code): code for code in _CAUSES if code != errno.EPERM}
_PATH = re.compile(r"""["'](/[^"']*)["']""")
# Orbax writes below such a folder until a checkpoint is whole.
_UNFINISHED = re.compile(r"/[^/]*\.orbax-checkpoint-tmp.*")


def sentence(error: BaseException, resumes: bool) -> str | None:
    """Gives the sentence for an error of the system; None for any other error.

    With `resumes`, it adds that the same command will continue.
    """
    for one in _with_causes(error):
        code, path = _code(one), _path(one)
        if code in _CAUSES:
            cause = _CAUSES[code]
            place = f"{path}: " if path else ""
            end = RESUMES if resumes and cause is not _GONE else ""
            return f"{place}{cause.wrong}: {cause.remedy}{end}"
        # Of JAX, which is not imported for this.
        if type(one).__name__ == "JaxRuntimeError" and _OUT_OF_MEMORY.search(str(one)):
            reason = str(one).partition("\n")[0]
            return f"a device is out of memory ({reason}): {_MEMORY}"
        if isinstance(one, RuntimeError) and _NO_DEVICE in str(one):
            reason = str(one).partition("\n")[0]
            return f"the accelerator cannot be used ({reason}): {_DEVICE}"
        if remote.refused(one):
            reason = str(one).partition("\n")[0] or type(one).__name__
            end = RESUMES if resumes else ""
            return f"the object store cannot be used ({reason}): {_STORE}{end}"
        if isinstance(one, OSError) and path:
            return f"{path}: {one.strerror}"
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _code(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    if found := _CODE.search(text):
        return int(found[1] or found[2])
    return next((code for message, code in _BY_TEXT.items() if message in text), None)


def _path(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        path = os.fsdecode(error.filename)
    else:
        found = _PATH.search(str(error))
        path = found[1] if found else ""
    return _UNFINISHED.sub("", path)
