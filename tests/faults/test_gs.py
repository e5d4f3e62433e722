"""A job on gs://, in an emulator: killed, resumed and used, it is that of a disk."""

import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import killed_job
import pytest
from test_kills import finished, left

from dtvg_jax import files
from dtvg_jax.files import remote
from dtvg_jax.formats.load import EMBEDDED

pytestmark = pytest.mark.slow

# Runs `killed_job` where a lease lives for seconds, not a minute.
KILLED = """
import runpy, sys
from dtvg_jax.files import lease
lease.LIFE, lease.RENEWED = 5.0, 1.0
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# In this order each is reached by a job that was killed at those before.
KILLS = [
    "after the plan",
    "amid stage 1",
    "amid writing an entry",
    "before tests are kept",
    "before sources are kept",
    "between log and checkpoint",
    "before results.md",
]


@pytest.fixture(scope="module")
def emulator() -> Iterator[remote.Path]:
    """A bucket, for this process and those that it starts."""
    for package in ("gcsfs", "gcp_storage_emulator"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install -e '.[emulator]'")
    from etils.epath import backend
    from gcp_storage_emulator.server import create_server

    server = create_server("localhost", 0, in_memory=True, default_bucket="bucket")
    server.start()
    port = server._api._httpd.server_address[1]
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {
            "STORAGE_EMULATOR_HOST": f"http://localhost:{port}",
            "TENSORSTORE_GCS_HTTP_URL": f"http://localhost:{port}",
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }.items():
            patched.setenv(name, value)
        backend._FileSystemSpecBackend._get_filesystem.cache_clear()
        yield files.expand("gs://bucket")
    server.stop()


@pytest.fixture(scope="module")
def undisturbed(cache, tmp_path_factory) -> dict[str, object]:
    """All that the job leaves behind on a disk."""
    return finished(tmp_path_factory.mktemp("gs") / "job", cache)


def fetched(folder: remote.Path, local: pathlib.Path) -> pathlib.Path:
    """Copies all objects of a folder."""
    import fsspec

    store, top = fsspec.url_to_fs(os.fspath(folder))
    for place in store.find(top):
        path = local / place.removeprefix(f"{top}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.cat_file(place))
    return local


def upload(local: pathlib.Path, to: remote.Path) -> None:
    for path in sorted(local.rglob("*")):
        if path.is_file():
            name = path.relative_to(local).as_posix()
            files.write_bytes(to / name, path.read_bytes())


def start(*arguments: object) -> "subprocess.Popen[str]":
    # As many devices as in this process, whose results are compared.
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    env |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


def test_a_job_killed_at_many_points_ends_as_one_on_a_disk(
    emulator, undisturbed, cache, tmp_path
):
    folder = emulator / "killed"
    for point in KILLS:
        killed = start("-c", KILLED, killed_job.__file__, point, folder, cache)
        said = killed.communicate()[1]
        assert killed.returncode == -signal.SIGKILL, (point, said)
    # The last resumption is an ordinary one: it waits for the lease of the killed.
    settings = tmp_path / "job.gin"
    settings.write_text(killed_job.GIN)
    ended = start(
        "-m", "dtvg_jax.train", f"--gin_file={settings}", f"--job_dir={folder}",
        f"--gin.job.Job.cache_dir='{cache}'",
    )  # fmt: skip
    said = ended.communicate()[1]
    assert ended.returncode == 0, said
    assert "waiting up to 60 s for process" in said
    found = left(fetched(folder, tmp_path / "job"))
    for name in undisturbed:
        if name not in ("config.gin", "plan.json"):
            assert found[name] == undisturbed[name], name


def test_of_two_workers_one_has_the_lease_and_all_else_may_lie_there_too(
    emulator, undisturbed, cache, tmp_path
):
    """Settings, backbone and data come from the bucket; then its prompts are used."""
    [data] = cache.glob("miniature-*")
    upload(data, emulator / "data")
    upload(EMBEDDED / "miniature", emulator / "models" / "miniature")
    files.write_bytes(emulator / "gin" / "job.gin", killed_job.GIN.encode())
    folder = emulator / "two"
    train = (
        "-m", "dtvg_jax.train", f"--gin_file={emulator}/gin/job.gin",
        f"--job_dir={folder}", f"--gin.job.Job.cache_dir='{tmp_path / 'cache'}'",
        f"--gin.job.Job.backbone='{emulator}/models/miniature'",
        f"--tfds_data_dir={emulator}/data",
    )  # fmt: skip
    workers = [start(*train) for _ in range(2)]
    said = [worker.communicate()[1] for worker in workers]
    codes = [worker.returncode for worker in workers]
    assert sorted(codes) == [0, 2], said
    [refused] = [err for err, code in zip(said, codes, strict=True) if code]
    winner = workers[codes.index(0)]
    assert f"error: process {winner.pid} on " in refused
    assert f"works on {folder} (its lease was renewed " in refused
    found = left(fetched(folder, tmp_path / "job"))
    # Which sources can help is known only where data_dir is "miniature".
    del found["results"]["groups"]
    results = undisturbed["results"]
    for name, value in found["results"].items():
        assert value == results[name], name
    for name in undisturbed:
        if name.endswith("jsonl"):
            assert found[name] == undisturbed[name], name

    reported = start("-m", "dtvg_jax.report", f"--job_dir={folder}")
    out, err = reported.communicate()
    assert reported.returncode == 0, err
    assert f"Report:      {folder}/results.md" in out
    lines = tmp_path / "lines"
    lines.write_text('{"task": "mrpc", "sentence1": "a b", "sentence2": "a b"}\n')
    answers = []
    for job in (folder, tmp_path / "job"):
        predicted = start(
            "-m", "dtvg_jax.predict", f"--store={job}/store", f"--file={lines}",
            f"--backbone={emulator}/models/miniature",
            f"--cache_dir={tmp_path / 'cache'}",
        )  # fmt: skip
        out, err = predicted.communicate()
        assert predicted.returncode == 0, err
        answers.append(out)
    assert answers[0] == answers[1] and '"prompt": "mrpc/dtvg-seed0"' in answers[0]
    evaluated = start(
        "-m", "dtvg_jax.evaluate", f"--store={folder}/store",
        f"--out={emulator}/scores", "--prompts=mrpc/dtvg-seed0", "--rows=30",
        f"--backbone={emulator}/models/miniature", f"--tfds_data_dir={emulator}/data",
        f"--cache_dir={tmp_path / 'cache'}",
    )  # fmt: skip
    err = evaluated.communicate()[1]
    assert evaluated.returncode == 0, err
    [row] = files.read_json(emulator / "scores" / "results.json")["rows"]
    rows = found["results"]["rows"]
    [tested] = [one for one in rows if one["entry"] == "store/mrpc/dtvg-seed0"]
    assert row["metrics"] == tested["metrics"]
