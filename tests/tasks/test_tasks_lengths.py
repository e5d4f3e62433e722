"""What truncation costs, counted by hand on bytes."""

import dataclasses

import pytest
import seqio
import tfds_rows

from tasks import lengths
from tasks import list as task_list
from tasks.task_info import TASKS


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("lengths"))
    row = lambda i, context, *answers: dict(
        id=f"{i}", title="", context=context, question="Who",
        answers=dict(text=list(answers), answer_start=[0] * len(answers)),
    )  # fmt: skip
    rows = [
        row(0, "Ann slept and Ben ran far away", "Ben", "Ann"),  # Ann is left
        row(1, "xx slept and Ben ran far away", "Ben"),  # cut away
        row(2, "Ann", "Ann"),  # short
        row(3, "all of this is long, and nobody is there", "Zoe"),  # was never there
    ]
    tfds_rows.prepare("squad/v1.1:3.0.0", folder, {"validation": rows})
    pair = [dict(sentence1="a", sentence2="b", label=1, idx=0)]
    tfds_rows.prepare("glue/rte:2.0.0", folder, {"train": pair})
    return folder


def test_truncated_rows_and_answers_lost_are_counted(data_dir):
    # "squad question: Who context: Ann" has 32 bytes, and the end takes one
    info = dataclasses.replace(TASKS["squad"], inputs_length=33, targets_length=4)
    cost = lengths.measure(info, "test", data_dir, seqio.ByteVocabulary())
    assert cost.rows == 4
    assert (
        cost.longest == len("squad question: Who context: ") + 41 + 1
    )  # the comma is padded
    assert cost.inputs_truncated == 75.0
    assert cost.answers_lost == 25.0
    assert cost.targets_truncated == 0.0
    short = dataclasses.replace(info, targets_length=3)
    assert lengths.measure(short, "test", data_dir, seqio.ByteVocabulary())[3] == 100.0


def test_the_list_prints_what_truncation_costs(data_dir, capsys):
    assert task_list.main(["--lengths", "--tfds_data_dir", data_dir]) == 0
    lines = {
        line.split()[0]: line.split()[1:]
        for line in capsys.readouterr().out.splitlines()
    }
    # "rte sentence1: a sentence2: b"
    assert lines["rte"][:6] == ["256/16", "train", "1", "30", "0.0", "%"]
    assert lines["squad"][:3] == ["512/20", "test", "4"]
    assert lines["mnli"][1:] == ["-"] * 6
    assert task_list.main(["--lengths"]) == 2
    assert task_list.main(["--lengths", "--tfds_data_dir", "nowhere"]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err
