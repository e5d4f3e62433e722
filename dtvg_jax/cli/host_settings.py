"""Restarts a command on a CPU with memory settings that make it faster.

XLA's CPU backend takes its buffers from the C library at every step and gives them
back. By default they return to the system each time, and much of a step goes into pages
of 4 kB that the kernel clears anew. glibc can be told to use large pages and to keep
them, but only by an environment variable that it reads when the process starts:
`mallopt` knows no large pages, without which little is gained (docs/performance.md).
"""

import contextlib
import glob
import os
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

TUNABLES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {
        "hugetlb": 1,
        "mmap_threshold": 2**30,
        "trim_threshold": 2**32,
    }.items()
)
OLDEST_GLIBC = (2, 35)  # the first that knows hugetlb
# Device files of NVIDIA's and AMD's GPUs and of TPUs, and of GPUs under WSL.
ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/accel*", "/dev/vfio/[0-9]*")
ACCELERATORS += ("/dev/dxg",)


def define_flag(known: flags.FlagValues) -> None:
    """Adds the flag to those of a command that runs a backbone."""
    flags.DEFINE_bool(
        "host_settings",
        True,
        "On a CPU, restart at once with large pages that stay with the process.",
        flag_values=known,
    )


def wanted(known: flags.FlagValues) -> bool:
    """Tells whether a command has the flag, and it is on."""
    return "host_settings" in known and bool(known["host_settings"].value)


def apply(arguments: Sequence[str]) -> None:
    """Restarts this process, under its number, where the settings would help.

    Returns if they would not, if GLIBC_TUNABLES is set (by the user or the restart), or
    if the process is not the program that `arguments`, its name first, were given to:
    it calls a command itself, or its code came through a pipe.
    """
    alone = list(arguments) == sys.argv and pathlib.Path(sys.argv[0]).is_file()
    if not (alone and on_glibc() and on_cpu()) or "GLIBC_TUNABLES" in os.environ:
        return
    message = f"restarted with GLIBC_TUNABLES={TUNABLES}; --nohost_settings prevents it"
    print(message, file=sys.stderr, flush=True)
    command = [sys.executable, *sys.orig_argv[1:]]
    with contextlib.suppress(OSError):
        os.execve(command[0], command, os.environ | {"GLIBC_TUNABLES": TUNABLES})


def on_glibc() -> bool:
    """Tells whether the C library is a glibc that knows the settings."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):  # the name is unknown to other C libraries
        return False
    numbers = version.split(".")[:2]
    return name == "glibc" and tuple(map(int, numbers)) >= OLDEST_GLIBC


def on_cpu() -> bool:
    """Tells whether JAX will run on the CPU, without starting it."""
    platforms = os.environ.get("JAX_PLATFORMS") or os.environ.get("JAX_PLATFORM_NAME")
    if platforms:
        return platforms.split(",")[0] == "cpu"
    return not any(glob.glob(pattern) for pattern in ACCELERATORS)
