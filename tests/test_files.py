"""Files are written whole or not at all, checked when read, and locked."""

import dataclasses
import json
import math
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Annotated

import jaxtyping
import pytest

from dtvg_jax import files
from dtvg_jax.errors import Bounds, InputError, check_field_types


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
    "no UTF-8": (b"\xe4\xf6", " is not UTF-8 text ('utf-8' codec can't decode byte"),
    "UTF-16": (
        b"\xff\xfe{\0}\0",
        " is not UTF-8 text (it begins with the mark of UTF-16",
    ),
    "NUL": (b'{"a": "\0"}', " is not UTF-8 text (byte 7 is NUL"),
    "not JSON": (b'{"a": }', " is not JSON (Expecting value: line 1 column 7"),
    "cut short": (b'{"a": 1', " is not JSON (Expecting ',' delimiter"),
    "empty": (b"", " is not JSON (Expecting value"),
    "too deep": (b"[" * 200_000, " is not JSON (it has more than 100 levels)"),
    "deep": (b"[" * 101 + b"]" * 101, " is not JSON (it has more than 100 levels)"),
    "twice": (
        b'{"a": 1, "b": {"c": 2, "c": 3}}',
        " is not JSON (the name 'c' is there",
    ),
    "NaN": (b'{"a": NaN}', " is not JSON (NaN is not a JSON value)"),
    "infinity": (b'{"a": -Infinity}', " is not JSON (-Infinity is not a JSON value)"),
    "too large": (b'{"a": 1e999}', " is not JSON (the number 1e999 is too large)"),
    "digits": (b"[" + b"7" * 5000 + b"]", " is not JSON (the number 7777777777..."),
    "half a letter": (
        rb'{"a": "\ud83d"}',
        " is not JSON (\\ud83d is half of a surrogate",
    ),
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


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # To open it would wait for a writer.
    with pytest.raises(InputError, match="pipe is a pipe, socket or device, not a f"):
        files.read_json(tmp_path / "pipe")
    with pytest.raises(InputError, match="null is a pipe, socket or device"):
        files.read_bytes(pathlib.Path("/dev/null"))
    with pytest.raises(InputError, match="is a folder, not a file: restore it"):
        files.read_json(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read \(embedded null byte\)"):
        files.read_json(tmp_path / "a\0b")


def test_a_file_is_no_larger_than_is_asked(tmp_path):
    path = tmp_path / "some.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "größer".encode())
    assert files.check_regular(path) == 11
    assert files.read_text(path, limit=11) == "größer"
    with pytest.raises(InputError, match="has 11 bytes, and at most 10 are read: cut"):
        files.read_text(path, 10, "cut it")


def test_json_is_parsed_wherever_it_comes_from():
    said = rb'{"a": [1, 2.5, null, "\ud83d\ude00", 1000000000000000019884624838656]}'
    assert files.parse_json(said, "here") == {"a": [1, 2.5, None, "😀", int(1e30)]}
    deepest = "[" * 100 + "]" * 100
    assert str(files.parse_json(deepest, "here")) == deepest
    with pytest.raises(InputError, match=r"^lines.jsonl, line 3 is not JSON \(Expect"):
        files.parse_json("{", "lines.jsonl, line 3")


@dataclasses.dataclass(frozen=True)
class Part:
    rows: Annotated[int, Bounds(1, 1000)]


@dataclasses.dataclass(frozen=True)
class Whole:
    name: str
    rate: Annotated[float, Bounds(0)] = 1.0
    parts: Sequence[Part] = ()
    most: Part | None = None


# A record's JSON, and what is said after the path.
NO_RECORDS = {
    '{"rate": 1}': "the field 'name' is missing",
    '{"name": 1}': "name = 1: it must be text",
    '{"name": "a", "rate": "1"}': "rate = '1': it must be a number of at least 0",
    '{"name": "a", "rate": -1e-9}': "rate = -1e-09: it must be a number of at least 0",
    '{"name": "a", "parts": [{"rows": 1}, {"rows": 0}]}': (
        "parts[1]: rows = 0: it must be a whole number from 1 to 1,000"
    ),
    '{"name": "a", "parts": [[]]}': "parts = ([],): it must be a list",
    '{"name": "a", "most": {"rows": 1.5}}': (
        "most: rows = 1.5: it must be a whole number from 1 to 1,000"
    ),
}


@pytest.mark.parametrize("content", NO_RECORDS)
def test_a_record_names_the_field_that_is_wrong(tmp_path, content):
    path = tmp_path / "some.json"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        files.read_record(path, Whole)
    assert str(error.value) == f"{path}: {NO_RECORDS[content]}"


def test_a_record_has_what_the_file_says(tmp_path):
    path = tmp_path / "some.json"
    path.write_text('{"name": "a", "parts": [{"rows": 1000}], "most": null, "new": 1}')
    assert files.read_record(path, Whole) == Whole("a", parts=(Part(1000),))


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, -(10**400), True, None]
)
def test_a_range_has_finite_numbers_only(value):
    with pytest.raises(InputError, match="^rate = .*: it must be a number of at least"):
        check_field_types(Whole("a", rate=value))


def test_a_long_value_is_cut_in_a_sentence():
    with pytest.raises(
        InputError, match=r"^name = \[0, 0, .{90}\.\.\.: it must be text$"
    ):
        check_field_types(Whole([0] * 10**5))  # type: ignore[arg-type]


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "some.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": "ä"}).encode())
    assert files.read_json(path) == {"a": "ä"}


@pytest.mark.parametrize("path", ["", 3, None, ["a"]])
def test_what_is_no_path_is_refused(monkeypatch, path):
    # Users do not have the import hook of the tests, which would see a mistake first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InputError, match="is not a path: give a file or folder"):
        files.expand(path)


def test_a_system_error_names_the_file(tmp_path):
    with pytest.raises(OSError) as error, files.naming(tmp_path):
        raise OSError(28, "No space left on device")
    assert error.value.filename == str(tmp_path)


def test_a_held_lock_is_refused_or_waited_for(tmp_path):
    path, order = tmp_path / "lock", []

    def second():
        with files.locked(path, wait=lambda: None):
            order.append("second")

    thread = threading.Thread(target=second)
    with files.locked(path):
        with pytest.raises(BlockingIOError), files.locked(path):
            pass
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    with files.locked(path):  # free again
        pass


@pytest.mark.parametrize("scheme", ["hf", "file", "http", "GS"])
def test_an_address_is_no_local_folder(scheme):
    with pytest.raises(InputError, match=f"{scheme}:// is not supported: give one"):
        files.expand(f"{scheme}://bucket/x")


@pytest.mark.parametrize(
    "path", ["x:/b", "a/gs:/b", "a/gs://b", "c:x", "://x", "./s3://b"]
)
def test_a_path_with_a_colon_is_one(path):
    assert files.expand(path) == pathlib.Path(path)


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
