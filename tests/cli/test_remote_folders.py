"""Commands read and write folders on gs://; what must be local says so."""

import errno
import pathlib
from collections.abc import Iterator

import fake_job
import jaxtyping
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import gin
from dtvg_jax import files
from dtvg_jax.cli import command
from dtvg_jax.cli.commands import convert, predict, pretrain, report, train
from dtvg_jax.data import prepared
from dtvg_jax.errors import InputError
from dtvg_jax.formats.load import EMBEDDED, open_source
from dtvg_jax.jobs import job_folder, measurements
from dtvg_jax.store.prompt_store import METADATA_FILE, PromptStore


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Iterator[pathlib.Path]:
    """A working and home folder."""
    # Users do not have the import hook of the tests.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    gin.clear_config()
    # gin keeps what a command has added.
    monkeypatch.setattr("gin.config._LOCATION_PREFIXES", [""])
    yield tmp_path
    assert not list(tmp_path.glob("gs*"))
    gin.clear_config()


def run(of: command.Command, *flags: str) -> object:
    with pytest.raises(SystemExit) as end:
        command.run(of, ["command", *flags])
    return end.value.code


def upload(local: pathlib.Path, to: files.Path) -> None:
    for path in sorted(local.rglob("*")):
        if path.is_file():
            name = path.relative_to(local).as_posix()
            files.write_bytes(to / name, path.read_bytes())


def test_prompts_go_into_a_store_and_out_of_it(bucket, here, capsys):
    for seed in (1, 2):
        rows = np.random.default_rng(seed).normal(size=(2, 96))
        np.save(here / f"rte{seed}.npy", rows.astype(np.float32))
    store = f"--store={bucket}/store"
    given = [f"rte=rte{seed}.npy" for seed in (1, 2)]
    for seed, one in enumerate(given, 1):
        assert run(convert.COMMANDS["import"], store, f"--seed={seed}", one) == 0
    assert PromptStore(bucket / "store").names() == [
        "rte/imported-seed1",
        "rte/imported-seed2",
    ]
    # Another prompt of that name is refused, and the same one is kept.
    assert run(convert.COMMANDS["import"], store, "--seed=1", given[0]) == 0
    assert run(convert.COMMANDS["import"], store, "--seed=1", given[1]) == 2
    assert "gs://bucket/folder/store/rte/imported-seed1 holds another" in (
        capsys.readouterr().err
    )
    assert run(convert.COMMANDS["similarities"], store) == 0
    out = f"--out={bucket}/out"
    assert run(convert.COMMANDS["export"], store, "--format=npy", out) == 0
    exported = bucket / "out" / "rte" / "imported-seed1.npy"
    assert exported.read_bytes() == (here / "rte1.npy").read_bytes()
    assert run(convert.COMMANDS["export"], store, "--format=npy", out) == 2
    assert "already exists, and nothing is overwritten" in capsys.readouterr().err


def test_an_entry_is_there_when_its_metadata_are(bucket, here, monkeypatch):
    np.save(here / "rte.npy", np.ones((2, 96), np.float32))
    real = files.write_bytes

    def dies(path: files.Path, content: bytes) -> None:
        if path.name == METADATA_FILE:
            raise KeyboardInterrupt
        real(path, content)

    made = (convert.COMMANDS["import"], f"--store={bucket}/store", "rte=rte.npy")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(files, "write_bytes", dies)
        command.run(made[0], ["command", *made[1:]])
    store = PromptStore(bucket / "store")
    assert store.names() == [] and list(bucket.glob("store/rte/*/prompt.safetensors"))
    assert run(*made) == 0
    assert store.names() == ["rte/imported-seed0"]
    np.testing.assert_array_equal(
        store.read("rte/imported-seed0").arrays["prompt"], np.ones((2, 96))
    )


def test_a_damaged_entry_is_named(bucket, here):
    np.save(here / "rte.npy", np.ones((2, 96), np.float32))
    assert run(convert.COMMANDS["import"], f"--store={bucket}/s", "rte=rte.npy") == 0
    [arrays] = bucket.glob("s/rte/*/prompt.safetensors")
    content = bytearray(arrays.read_bytes())
    content[-1] ^= 1
    arrays.write_bytes(bytes(content))
    with pytest.raises(InputError, match="gs://.*prompt.safetensors is not the file"):
        PromptStore(bucket / "s").read("rte/imported-seed0")


def test_a_report_is_that_of_the_same_job_on_a_disk(bucket, here, capsys):
    records = [fake_job.grouped(step, 0, [1, 0]) for step in (1, 2)]
    fake_job.save(here / "job", fake_job.small(), records)
    upload(here / "job", bucket / "job")
    assert run(report.COMMAND, "--job_dir=job") == 0
    local = capsys.readouterr().out
    assert run(report.COMMAND, f"--job_dir={bucket}/job") == 0
    assert capsys.readouterr().out.replace(f"{bucket}/", "") == local
    made = {path.relative_to(here / "job") for path in (here / "job").rglob("*.*")}
    assert pathlib.Path("plots/losses.png") in made
    for name in made:
        there = bucket / "job" / name.as_posix()
        assert there.read_bytes() == (here / "job" / name).read_bytes(), name


def test_gin_files_are_read_and_their_mistakes_placed(bucket, here, capsys):
    settings = pathlib.Path(train.__file__).parents[1] / "gin/test/small_job.gin"
    files.write_bytes(bucket / "gin/base.gin", settings.read_bytes())
    files.write_bytes(
        bucket / "gin/mine.gin",
        f"include '{bucket}/gin/base.gin'\njob.Job.seed = [3]\n".encode(),
    )
    (here / "local.gin").write_text("include 'mine.gin'\n")
    place = f"error: {bucket}/gin/mine.gin, line 2: job.Job has no setting 'seed'"
    dry = ("--dry_run", "--job_dir=job")
    for flags in (
        [f"--gin_file={bucket}/gin/mine.gin"],
        ["--gin_file=mine.gin", f"--gin_search_paths={bucket}/gin"],
        ["--gin_file=local.gin", f"--gin_search_paths={bucket}/gin"],
    ):
        gin.clear_config()
        assert run(train.COMMAND, *flags, *dry) == 2
        assert capsys.readouterr().err.startswith(place)
    assert run(train.COMMAND, f"--gin_file={bucket}/gin/bas.gin", *dry) == 2
    assert (
        "there is no gin file gs://bucket/folder/gin/bas.gin: did you mean 'base"
        in (capsys.readouterr().err)
    )


def test_a_backbone_is_copied_and_is_the_same(bucket, here):
    upload(EMBEDDED / "miniature", bucket / "models" / "miniature")
    local, there = open_source("miniature"), f"{bucket}/models/miniature"
    fetched = open_source(there, here / "cache")
    assert fetched.name == local.name
    assert fetched.checkpoint.digest() == local.checkpoint.digest()
    assert fetched.vocabulary().digest == local.vocabulary().digest


def test_data_sets_are_copied_and_missing_ones_named(bucket, here):
    for builder in ("glue/rte/2.0.0", "glue/sst2/2.0.0", "squad/3.0.0"):
        files.write_json(bucket / "data" / builder / "dataset_info.json", {})
        files.write_bytes(bucket / "data" / builder / "x.tfrecord-0", builder.encode())
    wanted = ["glue/rte:2.0.0", "squad:3.*.*"]
    root = prepared.folder(f"{bucket}/data", here / "cache", wanted)
    assert root == prepared.folder(f"{bucket}/data", here / "cache", wanted)
    for builder, place in zip(wanted, ("glue/rte/2.0.0", "squad/3.0.0"), strict=True):
        found = prepared.dataset(builder, root)
        assert found == root / place
        assert (found / "x.tfrecord-0").read_bytes() == place.encode()
    assert not (root / "glue" / "sst2").exists()
    with pytest.raises(InputError, match="paws:1.0.0 is not prepared under gs://"):
        prepared.folder(f"{bucket}/data", here / "cache", ["paws:1.0.0"])
    with pytest.raises(InputError, match="cannot be prepared at gs://.*local folder"):
        prepared.folder(f"{bucket}/data", here / "cache", wanted, download=True)


def test_a_job_folder_is_held_and_checked(bucket, monkeypatch):
    monkeypatch.setattr(job_folder.lease, "SETTLE", 0.0)
    with job_folder.locked(bucket / "job"):
        rows = measurements.Tested([], {"x": 1.5})
        measurements.write(bucket / "job", "stage1", rows, {})
    found = measurements.read(bucket / "job", "stage1", measurements.Tested, {})
    assert found is not None and found.seconds == {"x": 1.5}
    with pytest.raises(InputError, match="gs://.*/plan.json is gone, and without it"):
        job_folder.check_plan(bucket / "job", {"settings": {}})
    files.write_json(bucket / "job/plan.json", {"format": 1})
    with pytest.raises(InputError, match="gs://.* holds a job of another version"):
        job_folder.check_plan(bucket / "job", {"settings": {}})


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP])
def test_a_disk_without_locks_gets_a_lease(here, monkeypatch, code):
    def refuses(path: pathlib.Path) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(files, "locked", refuses)
    monkeypatch.setattr(job_folder.lease, "SETTLE", 0.0)
    with job_folder.locked(here / "job"):
        assert [path.name for path in (here / "job").iterdir()] == [".lease-1.json"]


LOCAL = [
    (pretrain.COMMAND, "--gin_file=runs/pretrain_miniature.gin --out=gs://bucket/x"),
    (predict.COMMAND, "--file=gs://bucket/x"),
    (convert.COMMANDS["import"], "--store=new rte=gs://bucket/x"),
    (convert.COMMANDS["import"], "--store=new --p_init=gs://bucket/x rte=rte.npy"),
    (
        convert.COMMANDS["backbone"],
        "--backbone=miniature --format=hugging_face --out=gs://bucket/x",
    ),
    (
        train.COMMAND,
        "--gin_file=test/small_job.gin --job_dir=x --gin.job.Job.cache_dir='gs://b/x'",
    ),
]


@pytest.mark.parametrize("of, flags", LOCAL, ids=[flags for _, flags in LOCAL])
def test_what_must_be_on_a_disk_says_so(bucket, here, capsys, of, flags):
    assert run(of, *flags.split()) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "must be on a local or mounted disk" in err


REFUSALS = [
    (
        "info",
        OSError("Forbidden: b/bucket/o\nAnonymous caller has no access."),
        report.COMMAND,
        "--job_dir={}/job",
        "gs://bucket/folder/job/results.json cannot be read (Forbidden: b/bucket/o)",
    ),
    (
        "find",
        RuntimeError("no network\nat all"),
        convert.COMMANDS["similarities"],
        "--store={}/store",
        "the object store cannot be used (no network): check the address",
    ),
]


@pytest.mark.parametrize("call, error, of, flag, said", REFUSALS)
def test_a_store_that_refuses_ends_a_command_in_a_sentence(
    bucket, here, capsys, monkeypatch, call, error, of, flag, said
):
    def refuses(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(MemoryFileSystem, call, refuses)
    assert run(of, flag.format(bucket)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and said in err, err
