"""Tables on disk: whole or absent, checked when read, made in constant memory."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tracemalloc

import fake_table
import numpy as np
import pytest

from dtvg_jax import files
from dtvg_jax.data import token_table, token_table_files
from dtvg_jax.data.tokenise import TextRow
from dtvg_jax.errors import InputError


def test_a_table_read_back_by_hand(tmp_path):
    content = [TextRow("ab", "1", "one"), TextRow("cdefghij", "2222", ["x", "é"])]
    table = fake_table.make(tmp_path / "t", content)
    assert fake_table.text_of(table.inputs) == "ab|cdefghi|"
    assert table.input_offsets.tolist() == [0, 3, 11]
    assert fake_table.text_of(table.targets) == "1|222|"
    assert table.input_lengths.tolist() == [3, 8]
    assert table.target_lengths.tolist() == [2, 4]
    assert token_table.head(table, 1).input_lengths.tolist() == [3]
    assert table.target_offsets.tolist() == [0, 2, 6]
    assert table.golds == ["one", ["x", "é"]]
    assert len(table) == table.metadata.rows == 2
    assert (table.metadata.longest_input, table.metadata.longest_target) == (8, 4)
    assert (table.metadata.inputs_truncated, table.metadata.targets_truncated) == (1, 1)
    assert isinstance(table.inputs, np.memmap) and table.inputs.dtype == np.int32


def test_many_chunks_agree_with_one_row_at_a_time(tmp_path):
    content = fake_table.rows(2500)
    table = fake_table.make(tmp_path / "t", content)
    for i in (0, 1, 1023, 1024, 1025, 2047, 2048, 2499):
        ids = table.inputs[table.input_offsets[i] : table.input_offsets[i + 1]]
        assert fake_table.text_of(ids) == content[i].inputs + "|"
        assert table.golds[i] == content[i].gold


def test_the_split_digest_tells_members_and_nothing_else(tmp_path):
    rows = fake_table.rows(5)
    tables = {
        "same": fake_table.make(tmp_path / "a", rows, lengths=(3, 2)),
        "base": fake_table.make(tmp_path / "b", rows),
        "fewer": fake_table.make(tmp_path / "c", rows[:4]),
        "order": fake_table.make(tmp_path / "d", rows[::-1]),
    }
    digests = {name: table.metadata.split_digest for name, table in tables.items()}
    assert digests["same"] == digests["base"]
    assert len(set(digests.values())) == 3


def test_no_rows_are_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(InputError, match="split 'train' of task 'toy' has no rows"):
        fake_table.make(tmp_path / "t", [])
    assert [p.name for p in tmp_path.iterdir()] == ["t.lock"]


def test_an_error_in_the_middle_leaves_no_table(tmp_path):
    def rows():
        yield from fake_table.rows(2000)
        raise RuntimeError("the disk of the data went away")

    with pytest.raises(RuntimeError, match="went away"):
        fake_table.make(tmp_path / "t", rows())
    assert [p.name for p in tmp_path.iterdir()] == ["t.lock"]


def test_a_killed_process_leaves_no_table_and_is_cleaned_up(tmp_path):
    program = (
        "import os, signal, sys, pathlib, fake_table\n"
        "def rows():\n"
        "    yield from fake_table.rows(2000)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "fake_table.make(pathlib.Path(sys.argv[1]), rows())\n"
    )
    folder = tmp_path / "t"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program, folder], env=environment)
    assert done.returncode == -signal.SIGKILL
    assert not folder.exists() and (tmp_path / "t.building").exists()
    table = fake_table.make(folder, fake_table.rows(3))
    assert len(table) == 3 and not (tmp_path / "t.building").exists()


def test_a_table_that_is_there_is_not_made_again(tmp_path):
    def never():
        raise AssertionError("the rows were read")
        yield

    fake_table.make(tmp_path / "t", fake_table.rows(3))
    assert len(fake_table.make(tmp_path / "t", never())) == 3


FILES = [f"{name}.npy" for name in token_table_files.ARRAYS]
FILES += ["golds.jsonl", "meta.json"]


def flip(path):
    """Changes the last digit or id, not the end of line behind it."""
    content = bytearray(path.read_bytes())
    at = max(i for i, byte in enumerate(content) if byte not in b'\n"}')
    content[at] ^= 1
    path.write_bytes(content)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def folder_instead(path):
    path.unlink()
    path.mkdir()


def pipe_instead(path):
    path.unlink()
    os.mkfifo(path)


DAMAGES = [flip, cut, empty, pathlib.Path.unlink, folder_instead, pipe_instead]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_noticed_and_made_again(tmp_path, file, damage):
    made = fake_table.make(tmp_path / "t", fake_table.rows(3))
    ids = made.inputs.tolist()
    damage(tmp_path / "t" / file)
    with pytest.raises(InputError, match=f"{file}.*it has to be made again"):
        token_table.read_table(tmp_path / "t", {}, fake_table.NO_SCORING)
    again = fake_table.make(tmp_path / "t", fake_table.rows(3))
    assert again.metadata == made.metadata
    assert again.inputs.tolist() == ids


@pytest.mark.parametrize(
    "field, value",
    [
        ("rows", 10**9),
        ("longest_input", 9),
        ("targets_truncated", 1),
        ("split_digest", "0" * 64),
        ("request", {"task": "other"}),
        ("files", {}),
        ("scoring", {"metrics": ["pty:spawn"]}),
    ],
)
def test_every_value_of_meta_is_as_it_was_written(tmp_path, field, value):
    fake_table.make(tmp_path / "t", fake_table.rows(3))
    meta = tmp_path / "t" / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {field: value}))
    with pytest.raises(InputError, match="meta.json is not as it was written"):
        token_table.read_table(tmp_path / "t", {}, fake_table.NO_SCORING)


def test_no_function_comes_from_a_table(tmp_path):
    fake_table.make(tmp_path / "t", fake_table.rows(3))
    meta = tmp_path / "t" / "meta.json"
    said = files.unseal(files.read_json(meta), meta, "")
    forged = said | {"scoring": {"metrics": ["pty:spawn"], "postprocess": "os:system"}}
    files.write_json(meta, files.seal(forged))
    table = token_table.read_table(tmp_path / "t", {}, fake_table.NO_SCORING)
    assert table.scoring == fake_table.NO_SCORING


def test_another_table_under_this_name_is_noticed(tmp_path):
    fake_table.make(tmp_path / "t", fake_table.rows(3))
    with pytest.raises(InputError, match="belongs to another request: it has to be"):
        token_table.read_table(tmp_path / "t", {"task": "b"}, fake_table.NO_SCORING)


def test_an_array_that_claims_more_than_its_file_has_is_not_read(tmp_path):
    fake_table.make(tmp_path / "t", fake_table.rows(3))
    fake_table.make(tmp_path / "u", fake_table.rows(3))
    path, meta = tmp_path / "t" / "inputs.npy", tmp_path / "t" / "meta.json"
    content = path.read_bytes()
    claimed = content.replace(b"(", b"(100000000", 1)[: len(content)]
    path.write_bytes(claimed)
    said = files.unseal(files.read_json(meta), meta, "")
    digests = token_table_files.read(tmp_path / "u", {}).metadata.files
    digests = digests | {"inputs.npy": files.sha256(path)}
    files.write_json(meta, files.seal(said | {"files": digests}))
    with pytest.raises(InputError, match="is damaged .*it has to be made again"):
        token_table.read_table(tmp_path / "t", {}, fake_table.NO_SCORING)


def test_an_unwritable_place_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written: .* choose a cache folder"):
        fake_table.make(tmp_path / "file" / "t", fake_table.rows(3))


@pytest.mark.slow
@pytest.mark.parametrize(
    "rows", [20_000, pytest.param(100_000, marks=pytest.mark.slow)]
)
def test_memory_does_not_grow_with_the_rows(tmp_path, rows):
    def peak(n):
        row = TextRow("a sentence of some forty bytes, as usual", "1", "1")
        tracemalloc.start()
        try:
            fake_table.make(tmp_path / str(n), (row for _ in range(n)), lengths=(64, 4))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # It may grow by the offsets: 8 bytes for each input and target, held up to three
    # times while arrays grow and are saved.  The ids alone take 43 * 4 bytes a row.
    assert peak(rows) - peak(4_000) < rows * 2 * 8 * 3
