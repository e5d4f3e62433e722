"""What lies in a store is copied once for its content, whole or not at all."""

import pathlib

import pytest

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files import copies
from dtvg_jax.files.copies import WorkingCopy


def content(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def model(bucket):
    """A backbone's folder among others."""
    for name, said in {
        "t5/config.json": b"{}",
        "t5/model.safetensors": b"weights",
        "t5/pytorch_model.bin": b"the same, not read",
        "t5/checkpoint_7/0/0.0": b"chunk",
        "t5/checkpoint_7/checkpoint": b"index",
        "t5-other/config.json": b"other",
        "spiece.model": b"pieces",
    }.items():
        files.write_bytes(bucket / name, said)
    return bucket / "t5"


def test_a_folder_is_copied_once_under_its_own_name(
    model, tmp_path, monkeypatch, capsys
):
    local = copies.fetched(model, tmp_path / "cache")
    assert (local.name, local.parent.name) == ("t5", "folder")
    assert content(local.parent) == {
        "t5/config.json": b"{}",
        "t5/model.safetensors": b"weights",
        "t5/pytorch_model.bin": b"",
        "t5/checkpoint_7/0/0.0": b"chunk",
        "t5/checkpoint_7/checkpoint": b"index",
    }
    assert "fetching gs://bucket/folder/t5, 0.0 MB\n" == capsys.readouterr().err
    monkeypatch.setattr(copies, "_fetch", None)  # it is not called again
    assert copies.fetched(model, tmp_path / "cache") == local


def test_the_files_beside_it_come_too_where_asked(model, tmp_path):
    local = copies.fetched(
        model / "checkpoint_7", tmp_path / "cache", with_siblings=True
    )
    assert content(local.parent) == {
        "config.json": b"{}",
        "model.safetensors": b"weights",
        "pytorch_model.bin": b"",
        "checkpoint_7/0/0.0": b"chunk",
        "checkpoint_7/checkpoint": b"index",
    }


def test_changed_content_is_another_copy(model, tmp_path):
    first = copies.fetched(model, tmp_path / "cache")
    files.write_bytes(model / "config.json", b"[]")
    # The store in memory tells versions apart by their length alone.
    files.write_bytes(model / "model.safetensors", b"other weights")
    second = copies.fetched(model, tmp_path / "cache")
    assert first != second
    assert (first / "model.safetensors").read_bytes() == b"weights"
    assert (second / "model.safetensors").read_bytes() == b"other weights"


def test_a_copy_that_fails_leaves_nothing(model, tmp_path, monkeypatch):
    real, calls = type(copies._listed(model, False).store).get_file, []

    def breaks(self, *given, **named):
        calls.append(given)
        if len(calls) == 2:
            raise OSError("no network")
        return real(self, *given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(type(copies._listed(model, False).store), "get_file", breaks)
        with pytest.raises(OSError, match="no network"):
            copies.fetched(model, tmp_path / "cache")
    assert not any(path.is_dir() for path in (tmp_path / "cache/fetched").iterdir())
    assert copies.fetched(model, tmp_path / "cache").is_dir()


def test_what_changes_meanwhile_or_is_not_there_is_refused(
    model, tmp_path, monkeypatch
):
    with pytest.raises(InputError, match="gs://bucket/folder/none is not a folder"):
        copies.fetched(model.parent / "none", tmp_path / "cache")
    real = copies._fetch

    def slow(*given):
        real(*given)
        files.write_bytes(model / "model.safetensors", b"written in the meantime")

    monkeypatch.setattr(copies, "_fetch", slow)
    with pytest.raises(InputError, match="gs://.*/t5 changed while it was fetched"):
        copies.fetched(model, tmp_path / "cache")
    assert not any(path.is_dir() for path in (tmp_path / "cache/fetched").iterdir())


def test_no_object_leads_out_of_the_copy(model, tmp_path, monkeypatch):
    store = copies._listed(model, False).store
    outside = {f"{model.parent}/../../x": {"type": "file", "size": 1}}
    monkeypatch.setattr(type(store), "find", lambda self, top, **_: outside)
    with pytest.raises(InputError, match="has an object that leads out of it"):
        copies.fetched(model, tmp_path / "cache")


def test_the_same_content_elsewhere_is_a_copy_of_its_own(model, tmp_path):
    files.write_bytes(model.parent / "b" / "t5" / "x", b"1")
    files.write_bytes(model.parent / "c" / "t5" / "x", b"1")
    for name in "bc":
        local = copies.fetched(model.parent / name / "t5", tmp_path / "cache")
        assert content(local) == {"x": b"1"} and local.parent.name == name


@pytest.fixture
def rows(bucket):
    """Files of rows, and others that no pattern of the tests should find."""
    for name in ("a-1.csv", "a-2.csv", "a-2.csv.bin", "old/a-3.csv", "a [1].csv"):
        files.write_bytes(bucket / "rows" / name, name.encode())
    return f"{bucket}/rows"


@pytest.mark.parametrize(
    "name, wanted",
    {
        "a-1.csv": ["a-1.csv"],
        "a-?.csv": ["a-1.csv", "a-2.csv"],
        "a [1].csv": ["a [1].csv"],
        "a-2.csv.bin": ["a-2.csv.bin"],  # which of a backbone would come empty
    }.items(),
)
def test_files_and_patterns_are_copied(rows, tmp_path, name, wanted):
    found = copies.fetched_files(f"{rows}/{name}", tmp_path / "cache")
    paths = [pathlib.Path(one) for one in found]
    assert [(path.parent.name, path.name) for path in paths] == [
        ("rows", one) for one in wanted
    ]
    assert [path.read_text() for path in paths] == wanted


def test_a_changed_file_is_another_copy(rows, tmp_path):
    [first] = copies.fetched_files(f"{rows}/a-1.csv", tmp_path / "cache")
    assert copies.fetched_files(f"{rows}/a-1.csv", tmp_path / "cache") == [first]
    files.write_bytes(files.expand(f"{rows}/a-1.csv"), b"other rows")
    [second] = copies.fetched_files(f"{rows}/a-1.csv", tmp_path / "cache")
    assert pathlib.Path(second).read_bytes() == b"other rows"


@pytest.mark.parametrize(
    "path, said",
    {
        "gs://bucket/folder/rows/b.csv": "there is no file gs://bucket/.*/rows/b.csv",
        "gs://bucket/folder/rows/b-*.csv": "there is no file gs://.*/rows/b-[*].csv",
        "gs://bucket/*/a.csv": "with none of",
        "ftp://host/rows/a.csv": "ftp:// is not supported: give one of gs://, s3://",
    }.items(),
)
def test_files_that_are_not_there_are_named(rows, tmp_path, path, said):
    with pytest.raises(InputError, match=said):
        copies.fetched_files(path, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("path", ["x.csv", "/no/where/*.csv", "../x"])
def test_local_files_are_their_own_copies(tmp_path, path):
    assert copies.fetched_files(path, tmp_path / "cache") == [path]


def test_a_local_folder_is_its_own_copy(tmp_path):
    assert copies.fetched(tmp_path / "x", tmp_path / "cache") == tmp_path / "x"
    copy = WorkingCopy(tmp_path)
    assert copy.path == tmp_path
    (tmp_path / "log").write_text("x")
    copy.fetch("log")
    copy.close()
    assert content(tmp_path) == {"log": b"x"}


def test_a_working_copy_is_uploaded_when_asked_and_removed(bucket, monkeypatch):
    files.write_bytes(bucket / "log", b"one\n")
    copy = WorkingCopy(bucket)
    copy.fetch("log")
    copy.fetch("none")
    with open(copy.path / "log", "ab") as log:
        log.write(b"two\n")
    (copy.path / "events").mkdir()
    (copy.path / "events" / "a").write_bytes(b"")
    assert (bucket / "log").read_bytes() == b"one\n"
    copy.upload()
    assert (bucket / "log").read_bytes() == b"one\ntwo\n"
    assert (bucket / "events" / "a").read_bytes() == b""
    written = []
    monkeypatch.setattr(files, "write_bytes", lambda path, _: written.append(path))
    (copy.path / "events" / "a").write_bytes(b"more")
    copy.close()
    assert written == [bucket / "events" / "a"]
    assert not copy.path.exists()
