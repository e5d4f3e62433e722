"""Files are written whole or not at all, checked when read, and locked."""

import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from dtvg_jax import files
from dtvg_jax.errors import InputError


def test_a_written_file_is_whole_and_its_folder_is_made(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    files.write_bytes(path, b"first")
    files.write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, fails):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, fails, full)
    with pytest.raises(OSError, match="No space left"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_killed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    program = (
        "import os, pathlib, sys; from dtvg_jax import files;"
        "os.fsync = lambda _: os._exit(9);"
        "files.write_bytes(pathlib.Path(sys.argv[1]), b'new')"
    )
    root = pathlib.Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=root)
    assert done.returncode == 9 and path.read_bytes() == b"old"


def test_json_that_could_not_be_read_back_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "file", {"loss": float("nan")})
    assert not any(tmp_path.iterdir())
    files.write_json(tmp_path / "file", {"a": [1]})
    assert (tmp_path / "file").read_text() == '{\n "a": [\n  1\n ]\n}\n'


# Content of a file, and what is said after its path.
UNREADABLE = {
    "absent": (None, " does not exist: "),
    "not text": (b"\xff\xfe", " is not JSON ('utf-8' codec can't decode byte"),
    "not JSON": (b'{"a": }', " is not JSON (Expecting value: line 1 column 7"),
    "cut short": (b'{"a": 1', " is not JSON (Expecting ',' delimiter"),
    "empty": (b"", " is not JSON (Expecting value"),
    "too deep": (b"[" * 200_000, " is not JSON (maximum recursion depth"),
    "no object": (b"[1]", " holds no JSON object: "),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_json_that_cannot_be_read_is_one_sentence(tmp_path, what):
    content, said = UNREADABLE[what]
    path = tmp_path / "some.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        files.read_json(path, "make it anew")
    sentence = str(error.value)
    assert sentence.startswith(f"{path}{said}") and sentence.endswith(": make it anew")
    assert "\n" not in sentence


def test_a_folder_in_place_of_a_file_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\): restore"):
        files.read_json(tmp_path)


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "some.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": "ä"}).encode())
    assert files.read_json(path) == {"a": "ä"}


def test_a_held_lock_is_refused_or_waited_for(tmp_path):
    path, order = tmp_path / "lock", []

    def second():
        with files.locked(path, wait=True):
            order.append("second")

    thread = threading.Thread(target=second)
    with files.locked(path, wait=False):
        with pytest.raises(BlockingIOError), files.locked(path, wait=False):
            pass
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    with files.locked(path, wait=False):  # free again
        pass


def test_the_home_folder_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert files.expand("~/store") == pathlib.Path("/home/someone/store")
    assert files.expand("a/~") == pathlib.Path("a/~")


def test_a_digest_is_that_of_the_content(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    # The example of FIPS 180-2.
    assert files.sha256(tmp_path / "file").startswith(
        "ba7816bf8f01cfea414140de5dae2223"
    )


def test_a_sealed_object_says_when_a_value_changed():
    sealed = files.seal({"a": 1.0, "b": ["x", None]})
    assert files.unseal(sealed, "f", "restore it") == {"a": 1.0, "b": ["x", None]}
    for changed in (
        sealed | {"a": 1.5},
        sealed | {"c": 0},
        sealed | {"sha256": "0" * 64},
        {name: value for name, value in sealed.items() if name != "sha256"},
        {name: value for name, value in sealed.items() if name != "b"},
    ):
        with pytest.raises(InputError, match="f is not as it was written: restore it"):
            files.unseal(changed, "f", "restore it")
