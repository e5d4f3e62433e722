"""A lease: holds a folder for one process where the system has no lock for it.

A lease is a file of the folder, `.lease-<number>.json`, and the highest number counts.
Its holder renews it, and writes into it when it lets go. A successor creates the next
number, which only one process can do, and need not know whether the former holder still
runs: that one will find the higher number, and write nothing more.
"""

import contextlib
import dataclasses
import errno
import os
import pathlib
import re
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files import remote
from dtvg_jax.files.remote import Path

LIFE = 60.0  # seconds; a lease that was not renewed for so long may be taken
RENEWED = 15.0  # seconds between two renewals
LONG_DEAD = 600.0  # seconds; clocks of two hosts seldom differ by more
POLL = 1.0  # seconds between two looks at the lease of another
SETTLE = 1.0  # seconds after which a store shows which of two took it

# Options of mounts whose locks hold on one host only (NFS, Lustre, CIFS).
_ONE_HOST = {"nolock", "local_lock=flock", "local_lock=all", "localflock", "nobrl"}
# What a file system says that has no locks, such as NFS without its lock daemon.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}
_NAME = re.compile(r"\.lease-(?P<number>[0-9]{1,9})\.json")


@dataclasses.dataclass(frozen=True)
class Lease:
    """The content of a lease; `renewed` is in Unix seconds, None once it is let go."""

    owner: str
    token: str
    renewed: float | None


def needed(folder: Path, mounts: pathlib.Path = pathlib.Path("/proc/mounts")) -> bool:
    """Tells whether the system's locks fail to keep other hosts out of a folder."""
    if not isinstance(folder, pathlib.Path):
        return True
    place, options = folder.resolve(), set[str]()
    with contextlib.suppress(OSError):  # not Linux
        longest = -1
        for line in mounts.read_text(errors="replace").splitlines():
            # Spaces in the mount point are written as octal numbers.
            point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), line.split()[1])
            if place.is_relative_to(point) and len(point) >= longest:
                longest, options = len(point), set(line.split()[3].split(","))
    return bool(options & _ONE_HOST)


@contextlib.contextmanager
def alone(
    folder: Path, flag: str, check: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Holds a folder that `flag` named: by the system's lock, or like `held`.

    Raises InputError where another process holds it.
    """
    with contextlib.ExitStack() as stack:
        if not _lock(folder, flag, stack):
            stack.enter_context(held(folder, check))
        yield


def _lock(folder: Path, flag: str, stack: contextlib.ExitStack) -> bool:
    """Takes the system's lock of a folder, if that keeps all others out."""
    if not isinstance(folder, pathlib.Path) or needed(folder):
        return False
    try:
        stack.enter_context(files.locked(folder / ".lock"))
    except BlockingIOError:
        raise InputError(
            f"{files.holder(folder / '.lock')} works on {folder}: wait for it, or give "
            f"another {flag}"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


@contextlib.contextmanager
def held(folder: Path, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the lease of a folder, and lets nothing be written there once it is lost.

    Where another process holds it, waits, with a line on standard error, and takes it
    if it is not renewed; `check` is called meanwhile and may raise. Raises InputError,
    with its holder and age, if it is renewed.
    """
    holder = _Holder(folder, _take(folder, check))
    ended = threading.Event()
    thread = threading.Thread(target=holder.keep, args=(ended,), daemon=True)
    thread.start()
    remote.guards.append(holder.guard)
    try:
        yield
    finally:
        remote.guards.remove(holder.guard)
        ended.set()
        thread.join()
        holder.let_go()


class _Holder:
    """The lease that this process holds."""

    def __init__(self, folder: Path, lease: Lease):
        self._folder, self._lease = folder, lease
        self._at = time.monotonic()  # of the last renewal
        self._busy = threading.Lock()

    def guard(self, path: Path) -> None:
        """Raises InputError where a path is in the folder and the lease was taken."""
        if str(path).startswith(f"{self._folder}/"):
            with self._busy:
                # What is written now must be there before another may take the lease.
                if time.monotonic() - self._at > LIFE / 2:
                    self._renew(time.time())

    def keep(self, ended: threading.Event) -> None:
        """Renews the lease until `ended`."""
        while not ended.wait(RENEWED):
            # The store may be reachable again next time, and `guard` reports a loss.
            with contextlib.suppress(Exception), self._busy:
                self._renew(time.time())

    def let_go(self) -> None:
        """Frees the lease, unless it was taken."""
        with contextlib.suppress(Exception), self._busy:
            self._renew(None)

    def _renew(self, now: float | None) -> None:
        began = time.monotonic()
        number, other = _newest(self._folder)
        if other is None or other.token != self._lease.token:
            self._at = -LIFE  # every write from here on is checked
            who = f"to {other.owner}" if other else "(its file is gone)"
            raise InputError(
                f"the lease of {self._folder} was lost {who}, since this process did "
                f"not renew it for more than {LIFE:.0f} s: nothing more is written; "
                "run the same command again when the other has ended"
            )
        self._lease = dataclasses.replace(self._lease, renewed=now)
        files.put(_path(self._folder, number), _content(self._lease))
        self._at = began


def _take(folder: Path, check: Callable[[], None]) -> Lease:
    """Takes the lease of a folder; raises InputError where another renews it."""
    number, before = _newest(folder)
    if before is not None:
        number = _wait_for_end(folder, number, before, check)
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    owner = f"process {os.getpid()} on {socket.gethostname()} since {now}"
    mine = Lease(owner, uuid.uuid4().hex, time.time())
    with contextlib.suppress(FileExistsError):  # the newest is then another's
        remote.create(_path(folder, number + 1), _content(mine))
    # A store without exclusive creation keeps what was written last.
    time.sleep(SETTLE)
    _, newest = _newest(folder)
    if newest is None or newest.token != mine.token:
        raise _held_by(folder, newest or mine)
    for old in folder.glob(".lease-*.json"):
        if (found := _number(old)) is not None and found <= number:
            old.unlink(missing_ok=True)
    return mine


def _wait_for_end(
    folder: Path, number: int, before: Lease, check: Callable[[], None]
) -> int:
    """Gives the number of a lease that is over; raises InputError for a renewed one."""
    if before.renewed is None:
        return number
    # By this host's clock alone: those of two hosts may differ.
    life = LIFE if time.time() - before.renewed < LONG_DEAD else 2 * RENEWED
    print(
        f"waiting up to {life:.0f} s for {before.owner}, which holds {folder}",
        file=sys.stderr,
        flush=True,
    )
    end = time.monotonic() + life
    while time.monotonic() < end:
        check()
        time.sleep(POLL)
        at, now = _newest(folder)
        if now is None or now.renewed is None:
            return at
        if (at, now) != (number, before):
            raise _held_by(folder, now)
    return number


def _held_by(folder: Path, lease: Lease) -> InputError:
    age = max(0.0, time.time() - (lease.renewed or 0.0))
    return InputError(
        f"{lease.owner} works on {folder} (its lease was renewed {age:.0f} s ago): "
        "wait for it, or give another folder"
    )


def _newest(folder: Path) -> tuple[int, Lease | None]:
    """Gives the lease that counts and its number; 0 and None where there is none."""
    while True:
        numbers = map(_number, folder.glob(".lease-*.json"))
        number = max((one for one in numbers if one is not None), default=0)
        if not number:
            return 0, None
        path = _path(folder, number)
        # It is gone where another has just taken the next.
        with contextlib.suppress(FileNotFoundError):
            content = files.parse_json(path.read_bytes(), str(path))
            return number, files.record(Lease, content, str(path))


def _number(path: Path) -> int | None:
    found = _NAME.fullmatch(path.name)
    return int(found["number"]) if found else None


def _path(folder: Path, number: int) -> Path:
    return folder / f".lease-{number}.json"


def _content(lease: Lease) -> bytes:
    return files.json_bytes(dataclasses.asdict(lease))
