"""A lease: one holder, taken over when it is not renewed, and noticed when lost."""

import dataclasses
import itertools
import threading
import time

import pytest

from dtvg_jax import files
from dtvg_jax.errors import InputError, Stopped
from dtvg_jax.files import lease, remote

LONG = 30.0


@pytest.fixture(params=["gs", "nfs"])
def folder(request, tmp_path, monkeypatch):
    """A folder on gs:// or on a disk, with all times short."""
    for name, seconds in {
        "LIFE": 1.5,
        "RENEWED": 0.1,
        "POLL": 0.05,
        "SETTLE": 0.05,
    }.items():
        monkeypatch.setattr(lease, name, seconds)
    return request.getfixturevalue("bucket") if request.param == "gs" else tmp_path


def left(folder, number: int, **changed) -> lease.Lease:
    """Leaves the lease of a process that was killed just now."""
    made = lease.Lease("process 7 on elsewhere", "token", time.time())
    made = dataclasses.replace(made, **changed)
    content = files.json_bytes(dataclasses.asdict(made))
    files.put(folder / f".lease-{number}.json", content)
    return made


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.glob(".lease-*"))


def test_a_second_is_refused_with_owner_and_age_and_comes_in_afterwards(folder, capsys):
    with lease.held(folder):
        with pytest.raises(InputError) as refused, lease.held(folder):
            pass
        said = str(refused.value)
        assert f"on {lease.socket.gethostname()} since" in said
        assert f"works on {folder} (its lease was renewed 0 s ago): wait for it" in said
        assert "waiting up to" in capsys.readouterr().err
    began = time.monotonic()
    with lease.held(folder):  # let go: nothing to wait for
        assert names(folder) == [".lease-2.json"]
    assert time.monotonic() - began < lease.LIFE
    assert not remote.guards


def test_a_dead_one_is_taken_over_when_its_life_is_over(folder, capsys):
    left(folder, 3)
    began = time.monotonic()
    with lease.held(folder):
        assert time.monotonic() - began >= lease.LIFE
        assert names(folder) == [".lease-4.json"]
    assert "for process 7 on elsewhere, which holds" in capsys.readouterr().err


def test_one_that_was_let_go_is_taken_at_once(folder, monkeypatch, capsys):
    monkeypatch.setattr(lease, "LIFE", LONG)
    left(folder, 1, renewed=None)
    with lease.held(folder):
        assert names(folder) == [".lease-2.json"]
    assert not capsys.readouterr().err


def test_one_long_dead_is_taken_before_its_life_is_over(folder, monkeypatch):
    monkeypatch.setattr(lease, "LIFE", LONG)
    left(folder, 1, renewed=time.time() - lease.LONG_DEAD - 1)
    began = time.monotonic()
    with lease.held(folder):
        assert names(folder) == [".lease-2.json"]
    assert 2 * lease.RENEWED <= time.monotonic() - began < LONG


def test_a_clock_that_is_far_ahead_takes_nothing_from_the_living(folder):
    """To such a clock a lease that was renewed just now seems long dead."""
    renewals = itertools.count()
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(lease.RENEWED):
            left(folder, 1, renewed=time.time() - lease.LONG_DEAD - 60 + next(renewals))

    left(folder, 1, renewed=time.time() - lease.LONG_DEAD - 60)
    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(InputError, match="works on"), lease.held(folder):
            pass
    finally:
        ended.set()
        thread.join()
    assert names(folder) == [".lease-1.json"]


def test_one_that_is_let_go_while_it_is_waited_for_is_taken_at_once(
    folder, monkeypatch
):
    """And so is that of a third, who came and went meanwhile."""
    monkeypatch.setattr(lease, "LIFE", LONG)
    left(folder, 1)
    goes = threading.Timer(0.2, lambda: left(folder, 2, renewed=None))
    goes.start()
    with lease.held(folder):
        assert names(folder) == [".lease-3.json"]
    goes.join()


def test_waiting_can_be_stopped(folder):
    left(folder, 1)

    def check() -> None:
        raise Stopped(15)

    with pytest.raises(Stopped), lease.held(folder, check):
        pass
    assert names(folder) == [".lease-1.json"]


def test_nothing_is_written_once_the_lease_was_taken(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x"
    with lease.held(folder):
        files.write_bytes(folder / "a", b"mine")
        left(folder, 9)
        time.sleep(4 * lease.RENEWED)  # until the thread that renews has seen it
        for _ in range(2):
            with pytest.raises(InputError, match="lost to process 7 on elsewhere"):
                files.write_bytes(folder / "a", b"not mine any more")
        files.write_bytes(elsewhere, b"free")
        assert (folder / "a").read_bytes() == b"mine"
    # It is not let go either: it is another's.
    assert names(folder) == [".lease-1.json", ".lease-9.json"]
    assert lease._newest(folder)[1].owner == "process 7 on elsewhere"


def test_who_slept_too_long_looks_before_writing(folder, monkeypatch):
    monkeypatch.setattr(lease, "RENEWED", LONG)  # as if the host had slept
    with lease.held(folder):
        files.write_bytes(folder / "a", b"in time")
        left(folder, 2)
        files.write_bytes(folder / "a", b"still in time")
        time.sleep(lease.LIFE / 2)
        with pytest.raises(InputError, match="nothing more is written"):
            files.write_bytes(folder / "a", b"late")


def test_a_store_that_is_away_for_a_while_costs_nothing(folder, monkeypatch):
    real, calls = lease._newest, []

    def sometimes(where):
        calls.append(where)
        if len(calls) in (3, 4, 5):
            raise OSError("no network")
        return real(where)

    monkeypatch.setattr(lease, "_newest", sometimes)
    with lease.held(folder):
        time.sleep(6 * lease.RENEWED)
        files.write_bytes(folder / "a", b"x")
    assert len(calls) > 5


def test_of_several_at_once_one_comes_in(folder):
    entered, refused, start = [], [], threading.Barrier(4)

    def work(name: int) -> None:
        start.wait()
        try:
            with lease.held(folder):
                entered.append(name)
                time.sleep(1.0)
        except InputError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == 1 and len(refused) == 3


@pytest.mark.parametrize("content", [b"", b"{", b'{"owner": 1}', b"[]"])
def test_a_damaged_lease_is_named(bucket, content):
    files.put(bucket / ".lease-1.json", content)
    with pytest.raises(InputError, match=r"\.lease-1\.json"), lease.held(bucket):
        pass


MOUNTS = r"""
server:/a /mnt/shared nfs4 rw,vers=4.1,local_lock=none,addr=10.0.0.1 0 0
server:/b /mnt/shared/alone nfs rw,vers=3,local_lock=all 0 0
server:/c /mnt/flock nfs rw,vers=3,local_lock=flock 0 0
server:/d /mnt/nolock nfs rw,nolock 0 0
server:/e /mnt/with\040blank nfs rw,nolock 0 0
lustre /mnt/lustre lustre rw,localflock 0 0
/dev/sda1 / ext4 rw,relatime 0 0
""".lstrip()
NEEDED = {
    "/home/me/job": False,
    "/mnt/shared/job": False,
    "/mnt/shared/alone/job": True,
    "/mnt/flock/job": True,
    "/mnt/nolock": True,
    "/mnt/nolocks": False,
    "/mnt/with blank/job": True,
    "/mnt/lustre/job": True,
}


@pytest.mark.parametrize("place, needed", NEEDED.items())
def test_a_lease_is_needed_where_locks_hold_on_one_host_only(tmp_path, place, needed):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert lease.needed(lease.pathlib.Path(place), mounts) == needed


def test_without_a_list_of_mounts_the_system_is_trusted(tmp_path, bucket):
    assert not lease.needed(tmp_path, tmp_path / "none")
    assert lease.needed(bucket, tmp_path / "none")
