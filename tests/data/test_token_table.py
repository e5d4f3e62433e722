"""Token tables of SeqIO tasks: made once, found again without SeqIO, keyed by all."""

import os
import re
import shutil
import subprocess
import sys
import textwrap

import fake_table
import pytest

from dtvg_jax.data import fingerprints, scoring, token_table
from dtvg_jax.errors import InputError

# A user's own tasks: from a function, from files, and some that cannot be used.
OWN_TASKS = """
import os
import pathlib

import seqio
import tensorflow as tf

here = pathlib.Path(__file__).parent
features = {
    name: seqio.Feature(seqio.ByteVocabulary(), add_eos=True)
    for name in ("inputs", "targets")
}
text = [seqio.preprocessors.tokenize, seqio.preprocessors.append_eos]


def rows(split, shuffle_files, seed=None):
    count = {"train": 3, "validation": 0}[split]
    return tf.data.Dataset.from_tensor_slices(
        {"question": ["one", "two", "three"], "answer": [[1, 2]] * 3}
    ).take(count)


WORD = "q"


@seqio.map_over_dataset
def words(row):
    text = WORD + ": " + row["question"]
    return {"inputs": text, "targets": "1", "all": row["answer"]}


def lines(row):
    return row.map(lambda line: {"inputs": line, "targets": "1"})


def gold(text, example=None, is_target=False):
    if not is_target:
        return text
    name = example["inputs_pretokenized"].decode()
    return {"text": text, "all": example["all"], "name": name}


def odd_gold(text, **_):
    return {1, 2}


def share(targets, predictions):
    golds = [target["text"] for target in targets]
    return {"share": sum(map(str.__eq__, golds, predictions)) / len(golds)}


def scored(targets, scores):
    return {}


def add(name, preprocessors, metrics=(share,), postprocess=gold, source=None):
    source = source or seqio.FunctionDataSource(rows, ["train", "validation"])
    seqio.TaskRegistry.add(
        name, source, features, preprocessors, postprocess, list(metrics)
    )


add("toy_function", [words, seqio.CacheDatasetPlaceholder(), *text])
add("toy_untokenised", [words])
add("toy_late_step", [words, text[0], words])
add("toy_lambda", [words, *text], postprocess=lambda text, **_: text)
add("toy_scores", [words, *text], metrics=[scored])
add("toy_odd_gold", [words, *text], postprocess=odd_gold)
lines_source = seqio.TextLineDataSource({"train": os.fspath(here / "lines.txt")})
add("toy_lines", [lines, *text], postprocess=None, source=lines_source)
add(
    "toy_tfds",
    [words, *text],
    source=seqio.TfdsDataSource("glue/rte:2.0.0", splits=["train"], read_only=True),
)
"""


@pytest.fixture(scope="module")
def own_tasks(tmp_path_factory):
    """The folder of a package `toy_tasks`, importable."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "toy_tasks").mkdir()
    (folder / "toy_tasks" / "__init__.py").touch()
    (folder / "toy_tasks" / "all.py").write_text(OWN_TASKS)
    (folder / "toy_tasks" / "lines.txt").write_text("first\nsecond line\n")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def open_own(task, cache, split="train", **changes):
    settings = {
        "vocabulary": fake_table.ByteVocabulary(),
        "lengths": (16, 4),
        "cache_dir": cache,
        "tasks_module": "toy_tasks.all",
    }
    made = token_table.TableSettings(**settings | changes)
    return token_table.token_table(task, split, made)


def test_an_own_task(own_tasks, tmp_path):
    table = open_own("toy_function", tmp_path)
    assert fake_table.text_of(table.inputs) == "q: one|q: two|q: three|"
    assert fake_table.text_of(table.targets) == "1|1|1|"
    assert table.golds[2] == {"text": "1", "all": [1, 2], "name": "q: three"}
    assert (table.name, table.split, len(table)) == ("toy_function", "train", 3)
    own = sys.modules["toy_tasks.all"]
    assert table.scoring == ((own.share,), own.gold, None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"lengths": (15, 4)},
        {"lengths": (16, 5)},
        {"vocabulary": fake_table.ByteVocabulary(digest="other")},
        {"vocabulary": fake_table.ByteVocabulary(input_suffix=" L: ")},
        {"vocabulary": fake_table.ByteVocabulary(prefix_ids=(0,))},
    ],
)
def test_another_request_has_another_table(own_tasks, tmp_path, changes):
    base = open_own("toy_function", tmp_path)
    other = open_own("toy_function", tmp_path, **changes)
    assert other.folder != base.folder
    assert open_own("toy_function", tmp_path).folder == base.folder


def test_changed_files_have_another_table(own_tasks, tmp_path):
    path = own_tasks / "toy_tasks" / "lines.txt"
    first = open_own("toy_lines", tmp_path)
    assert fake_table.text_of(first.inputs) == "first|second line|"
    assert first.golds == ["1", "1"] and first.scoring.postprocess is None
    was = path.stat()
    path.write_text("other\nthird  line\n")
    # Neither the size nor the time of the file tells that it changed.
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert path.stat().st_size == was.st_size
    second = open_own("toy_lines", tmp_path)
    assert fake_table.text_of(second.inputs) == "other|third  line|"


def damage(table, other):
    with (table.folder / "inputs.npy").open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\x07")


def swap(table, other):
    shutil.rmtree(table.folder)
    shutil.copytree(other.folder, table.folder)


def replace_by_a_file(table, other):
    shutil.rmtree(table.folder)
    table.folder.write_text("")


@pytest.mark.parametrize(
    "change, sentence",
    [
        (damage, "is damaged .inputs.npy changed.: it has to be made again, which is"),
        (swap, "belongs to another request: it has to be made again, which is done"),
        (replace_by_a_file, "cannot be read .Not a directory.: it has to be made aga"),
    ],
)
def test_what_is_no_sound_table_is_made_again(
    own_tasks, tmp_path, caplog, change, sentence
):
    other = open_own("toy_lines", tmp_path)
    first = open_own("toy_function", tmp_path)
    change(first, other)
    again = open_own("toy_function", tmp_path)
    assert again.folder == first.folder
    assert fake_table.text_of(again.inputs) == "q: one|q: two|q: three|"
    [message] = caplog.messages
    assert str(first.folder) in message and re.search(sentence, message)


def test_what_else_makes_the_rows_is_not_missed(own_tasks, tmp_path, monkeypatch):
    first = open_own("toy_function", tmp_path)
    # As an imported helper, a file that a function reads or the environment would.
    monkeypatch.setattr(sys.modules["toy_tasks.all"], "WORD", "an")
    second = open_own("toy_function", tmp_path)
    assert fake_table.text_of(second.inputs) == "an: one|an: two|an: three|"
    monkeypatch.undo()
    assert open_own("toy_function", tmp_path).folder == first.folder


@pytest.mark.parametrize(
    "task, changes, sentence",
    [
        (
            "toy_functoin",
            {},
            "no SeqIO task 'toy_functoin': did you mean 'toy_function'",
        ),
        ("toy_function", {"split": "test"}, "no split 'test': it has train, validat"),
        ("toy_function", {"split": "validation"}, "split 'validation' .* has no rows"),
        ("toy_untokenised", {}, "must end with seqio.preprocessors.tokenize"),
        ("toy_late_step", {}, "every other step has to come before"),
        ("toy_scores", {}, "no metric function of .targets, predictions."),
        ("toy_odd_gold", {}, "returns a gold answer that is not text"),
        ("toy_tfds", {}, "glue/rte:2.0.0 needs a data folder"),
        ("toy_tfds", {"tfds_data_dir": "absent"}, "data folder absent does not exist"),
        ("toy_tfds", {"tfds_data_dir": "."}, "glue/rte:2.0.0 is not prepared under ."),
        ("toy_function", {"tasks_module": "toy_absent"}, "'toy_absent': there is no"),
        ("toy_function", {"tasks_module": "toy_tasks.no"}, "'toy_tasks.no' .* cannot"),
        ("toy_function", {"lengths": (0, 4)}, "0 for inputs leaves no room"),
        ("toy_function", {"lengths": (4, 0)}, "0 for targets leaves no room"),
        ("toy_function", {"label_style": "word"}, "unknown label style .word."),
        (
            "rtee",
            {"tasks_module": "tasks.all"},
            "unknown task 'rtee': did you mean 'rte'",
        ),
    ],
)
def test_what_cannot_be_used_is_a_sentence(
    own_tasks, tmp_path, monkeypatch, task, changes, sentence
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=sentence):
        open_own(task, tmp_path / "cache", **changes)
    assert not list((tmp_path / "cache").glob("token_tables/*-*/"))


def test_a_prepared_data_set_is_told_by_what_it_says_of_itself(tmp_path):
    folder = tmp_path / "glue" / "rte" / "2.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "glue-train.tfrecord-00000-of-00001").write_bytes(b"rows")
    first = fingerprints.data_digest("glue/rte:2.0.0", tmp_path)
    assert fingerprints.data_digest("glue/rte:2.*.*", tmp_path) == first
    (folder / "glue-train.tfrecord-00000-of-00001").write_bytes(b"more rows")
    second = fingerprints.data_digest("glue/rte:2.0.0", tmp_path)
    (folder / "dataset_info.json").write_text('{"name": "rte"}')
    third = fingerprints.data_digest("glue/rte:2.0.0", tmp_path)
    assert len({first, second, third}) == 3


@pytest.fixture(scope="module")
def rte(tmp_path_factory):
    """A data folder with nine generated rows of RTE's validation split."""
    from tasks.miniature import datasets

    folder = tmp_path_factory.mktemp("tfds")
    rows = [
        (i, {"sentence1": "A" * i, "sentence2": "é", "label": i % 2, "idx": i})
        for i in range(9)
    ]
    datasets.prepare("glue/rte:2.0.0", folder, {"validation": rows})
    return folder


def test_a_second_start_of_the_catalogue_imports_no_tensorflow(rte, tmp_path):
    program = textwrap.dedent("""
        import sys, fake_table
        from dtvg_jax.data import scoring, token_table
        settings = token_table.TableSettings(
            fake_table.ByteVocabulary(), (64, 2), sys.argv[1], sys.argv[2]
        )
        table = token_table.token_table("rte", "test", settings)
        assert scoring.score(table, ["0"] * 5)["accuracy"] in (40, 60)
        assert not {"tensorflow", "seqio"} & set(sys.modules)
    """)
    where = {"tfds_data_dir": rte, "tasks_module": "tasks.all"}
    open_own("rte", tmp_path, "test", lengths=(64, 2), **where)
    made = sorted(tmp_path.rglob("*"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, str(tmp_path), str(rte)]
    subprocess.run(command, env=environment, check=True)
    assert sorted(tmp_path.rglob("*")) == made


@pytest.mark.parametrize("length", [256, 40])
@pytest.mark.parametrize("split, rows", [("validation", 4), ("test", 5)])
def test_a_catalogue_task_agrees_with_seqio(rte, tmp_path, split, rows, length):
    import seqio

    made = open_own(
        "rte",
        tmp_path,
        split,
        lengths=(length, 2),
        tfds_data_dir=rte,
        tasks_module="tasks.all",
    )
    assert len(made) == made.metadata.rows == rows
    lengths = {"inputs": length, "targets": 2}
    dataset = seqio.get_mixture_or_task("dtvg_rte").get_dataset(
        lengths, split, shuffle=False
    )
    shift = {name: 0 for name in lengths}
    for row in dataset.as_numpy_iterator():
        for name in lengths:
            ids, offset = row[name], shift[name]
            ours = getattr(made, name)[offset : offset + len(ids)]
            # ByteVocabulary of SeqIO begins at 3, that of this test at 2
            assert ours.tolist() == [i if i == 1 else i - 1 for i in ids.tolist()]
            shift[name] += len(ids)
    assert shift == {"inputs": len(made.inputs), "targets": len(made.targets)}
    assert set(made.golds) == {"0", "1"}
    assert scoring.score(made, made.golds)["mean"] == 100.0


def test_label_words_are_another_table(rte, tmp_path):
    made = [
        open_own(
            "rte",
            tmp_path,
            "test",
            lengths=(64, 16),
            label_style=style,
            tfds_data_dir=rte,
            tasks_module="tasks.all",
        )
        for style in ("digits", "words")
    ]
    assert {frozenset(table.golds) for table in made} == {
        frozenset({"0", "1"}),
        frozenset({"entailment", "not_entailment"}),
    }
    assert made[0].scoring.metric_names == ("accuracy",)


def test_a_split_that_is_not_prepared_is_a_sentence(rte, tmp_path):
    with pytest.raises(InputError, match="'train' of task 'dtvg_rte' cannot be read"):
        open_own("rte", tmp_path, tfds_data_dir=rte, tasks_module="tasks.all")
