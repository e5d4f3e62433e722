"""Addresses become paths of a store; what cannot be used is refused in a sentence."""

import pathlib

import pytest

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files import remote

REFUSED = {
    "ftp://host/x": "ftp:// is not supported: give one of gs://, s3://, az://",
    "GS://bucket/x": "GS:// is not supported",
    "hf://models/x": "hf:// is not supported",
    "gs:/bucket/x": "give the text 'gs://bucket/x', which is no pathlib.Path",
    "gs://": "names no file or folder",
    "gs:///": "names no file or folder",
    "gs://bucket/*/x": "with none of *, ?, [, ], # and .. in it",
    "gs://bucket/../x": "with none of *, ?, [, ], # and .. in it",
    "gs://bucket/x#3": "with none of *, ?, [, ], # and .. in it",
    "s3://bucket/x": "needs the package absent: run `pip install absent`",
}


@pytest.mark.parametrize("address", REFUSED)
def test_what_cannot_be_used_is_refused(bucket, monkeypatch, address):
    store = remote._STORES["s3"]._replace(package="absent")
    monkeypatch.setitem(remote._STORES, "s3", store)
    with pytest.raises(InputError) as refused:
        files.expand(address)
    assert REFUSED[address] in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "given", ["file:/x", "x/gs:/bucket", "x/gs://bucket", "./gs://x", "gs:"]
)
def test_what_is_no_address_stays_a_local_path(given):
    assert files.expand(given) == pathlib.Path(given)


def test_what_must_be_local_is_said(bucket):
    with pytest.raises(InputError, match="gs://.*: the cache folder must be on a loc"):
        files.private_folder("gs://bucket/cache")


def test_no_job_is_begun_where_checkpoints_cannot_be(bucket):
    remote.check_jobs(bucket)
    remote.check_jobs(pathlib.Path("x"))
    there = type(bucket)("az://container/job")
    with pytest.raises(InputError, match="az://.*local folder or one at gs:// or s3"):
        remote.check_jobs(there)


def test_files_are_written_read_and_refused_as_on_a_disk(bucket):
    path = files.expand("gs://bucket/folder/a/b.json")
    files.write_json(path, {"x": 1})
    assert files.read_json(path) == {"x": 1}
    files.write_json(path, {"x": 2})
    assert files.read_json(path) == {"x": 2}
    assert [one.name for one in bucket.glob("*/*.json")] == ["b.json"]
    cases = {"a": "is a folder, not a file", "a/c.json": "does not exist"}
    for name, said in cases.items():
        with pytest.raises(InputError, match=f"gs://bucket/folder/{name} {said}"):
            files.read_json(bucket / name)
    with pytest.raises(InputError, match="has 12 bytes, and at most 5 are read"):
        files.read_bytes(path, 5)


def test_one_of_two_creates_a_file(bucket, tmp_path):
    for folder in (bucket, tmp_path):
        remote.create(folder / "x", b"first")
        with pytest.raises(FileExistsError):
            remote.create(folder / "x", b"second")
        assert (folder / "x").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_error_of_a_store_is_told_from_others(bucket):
    with pytest.raises(FileNotFoundError) as missing:
        (bucket / "none").read_bytes()
    with pytest.raises(FileNotFoundError) as local:
        pathlib.Path("none").read_bytes()
    # "fsspec" is the package of the store in memory.
    assert remote.refused(missing.value) and not remote.refused(local.value)
    assert remote.refused(ValueError("PERMISSION_DENIED: gs://bucket: 403"))
    assert remote.refused(ValueError("ABORTED: All 32 retry attempts failed: CURL"))
    assert not remote.refused(ValueError("DATA_LOSS: a chunk is damaged"))
    # A device that is out of memory says the same, as a RuntimeError.
    assert not remote.refused(RuntimeError("RESOURCE_EXHAUSTED: Out of memory"))
