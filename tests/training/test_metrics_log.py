"""The metrics log: what is written is read, and a resumed run leaves no trace."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tensorboardX import record_writer
from tensorboardX.proto import event_pb2

from dtvg_jax.errors import InputError
from dtvg_jax.training import metrics_log
from dtvg_jax.training.metrics_log import (
    MetricsLog,
    TrainRecord,
    ValidationRecord,
    read,
    scalars,
)
from dtvg_jax.training.runs import Run


def train(step: object, loss: float = 0.5, lane: str = "mrpc/dtvg/seed0", **more):
    return {
        "kind": "train",
        "program": "stage2-dtvg",
        "lane": lane,
        "stage": 2,
        "task": "mrpc",
        "method": "dtvg",
        "seed": 0,
        "step": step,
        "loss": loss,
        **more,
    }


def events(folder):
    """Reads TensorBoard's files: length (8), its checksum (4), event, checksum (4)."""
    found = []
    for path in sorted(folder.rglob("events*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            length = int.from_bytes(content[at : at + 8], "little")
            event = event_pb2.Event()
            event.ParseFromString(content[at + 12 : at + 12 + length])
            found.append(event)
            at += length + 16
    return found


def test_reads_what_was_written_with_arrays_as_lists_and_nan_as_none(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write([train(1, np.float32(0.25), group=np.array([1, 0])), train(2)])
        log.write([train(3, float("nan"))])
    first, _, third = read(tmp_path / "metrics.jsonl")
    assert isinstance(first, TrainRecord) and isinstance(third, TrainRecord)
    assert (first.loss, first.group, first.step) == (0.25, (1, 0), 1)
    assert first.run == Run(2, "mrpc", "dtvg", 0)
    assert third.loss is None


def test_a_job_without_a_log_has_no_records(tmp_path):
    assert read(tmp_path / "metrics.jsonl") == []


def test_truncating_gives_the_bytes_of_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(tmp_path) as log:
        log.write([train(1), train(2)])
        position = log.position()
        kept = path.read_bytes()
        log.write([train(3), train(4)])
    assert position == len(kept)
    with MetricsLog(tmp_path) as log:
        log.truncate(position)
        assert path.read_bytes() == kept
        log.write([train(3, 9.0)])
    assert [(r.step, r.loss) for r in read(path)] == [(1, 0.5), (2, 0.5), (3, 9)]


@pytest.mark.parametrize("torn", [b'{"kind": "tra', b"{", b'{"kind": "train"}'])
def test_a_torn_last_line_is_not_read_and_gone_when_opened(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(tmp_path) as log:
        log.write([train(1)])
        position = log.position()
    path.write_bytes(path.read_bytes() + torn)
    assert len(read(path)) == 1
    with MetricsLog(tmp_path) as log:
        assert log.position() == position
        log.write([train(2)])
    assert [record.step for record in read(path)] == [1, 2]


@pytest.mark.parametrize("position, said", [(10_000, "bytes"), (5, "end of a line")])
def test_a_position_of_another_log_is_refused_and_nothing_is_cut(
    tmp_path, position, said
):
    with MetricsLog(tmp_path) as log:
        log.write([train(1)])
        before = (tmp_path / "metrics.jsonl").read_bytes()
        with pytest.raises(InputError, match=said):
            log.truncate(position)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("metrics.jsonl", lambda log: log.replace(b"0.5", b"0.7", 1)),
        ("metrics.jsonl", lambda log: log[: log.index(b"\n") + 1]),
        ("metrics.jsonl", lambda log: b""),
        ("metrics.jsonl", None),
        ("metrics.seal.json", lambda seal: seal.replace(b'"bytes": ', b'"bytes": 1')),
        ("metrics.seal.json", lambda seal: b"{}"),
        ("metrics.seal.json", None),
    ],
)
def test_a_log_that_changed_since_the_checkpoint_is_refused(tmp_path, file, change):
    with MetricsLog(tmp_path) as log:
        log.write([train(1), train(2)])
        log.position()
        log.write([train(3)])
    path = tmp_path / file
    path.write_bytes(change(path.read_bytes())) if change else path.unlink()
    with pytest.raises(InputError, match="restore it, or give another folder"):
        MetricsLog(tmp_path)


def test_a_validation_is_read_and_what_a_newer_version_logs_is_left_out(tmp_path):
    about = train(3, future=[1, 2])
    validation = about | {"kind": "validation", "metrics": {"f1": None}, "best": True}
    with MetricsLog(tmp_path) as log:
        log.write([about, validation])
    first, second = read(tmp_path / "metrics.jsonl")
    assert isinstance(first, TrainRecord) and first.step == 3
    assert isinstance(second, ValidationRecord)
    assert (second.metrics, second.best) == ({"f1": None}, True)


@pytest.mark.parametrize(
    "line, said",
    [
        (b"not json", "line 2 is not JSON"),
        (b'{"kind": "train", "lane": "\xff"}', "line 2 is not JSON"),
        (b"[" * 10**5, "line 2 is not JSON .it has more than 100 levels"),
        (b'{"kind": "train", "loss": NaN}', "NaN is not a JSON value"),
        (b"[1, 2]", r"line 2 is \[1, 2\]: it must be a JSON object"),
        (b'{"step": 1}', "line 2: unknown kind None: known are train, validation"),
        (json.dumps(train("1")).encode(), "line 2: step = '1': it must be a whole"),
        (b'{"kind": "train", "step": 1}', "line 2: the field 'program' is missing"),
        (
            json.dumps(train(1) | {"method": "/../x"}).encode(),
            "line 2: method = '/../x' is not a name",
        ),
        (
            json.dumps(train(1) | {"task": "a\0b"}).encode(),
            r"line 2: task = 'a\\x00b' is not a name",
        ),
        (
            json.dumps(train(1) | {"variant": "x" * 300}).encode(),
            r"line 2: variant = 'x{96}\.\.\. is not a name",
        ),
        (json.dumps(train(1) | {"task": ""}).encode(), "line 2: task = '' is not a"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, said):
    good = json.dumps(train(1)).encode()
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([good, line, good, b""]))
    with pytest.raises(InputError, match=said):
        read(tmp_path / "metrics.jsonl")


def test_curves_of_a_record_have_a_tag_each():
    record = train(5, 0.5, sources=["mnli", "qqp"], similarity=[0.1, -0.2])
    record |= {"group": [1, 0], "target_similarity": 0.1, "grad_norm": None}
    assert scalars(record) == {
        "loss": 0.5,
        "target_similarity": 0.1,
        "similarity/mnli": 0.1,
        "similarity/qqp": -0.2,
        "group/mnli": 1,
        "group/qqp": 0,
    }
    validation = {"kind": "validation", "metrics": {"f1": 70.0, "mean": 71.0}}
    assert scalars(validation) == {"validation/f1": 70.0, "validation/mean": 71.0}


def test_tensorboard_gets_a_tag_per_lane_and_forgets_what_was_undone(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write([train(1, 0.75), train(1, 0.5, lane="mrpc/dtvg/seed1")])
        position = log.position()
        log.write([train(2, 0.25)])
    with MetricsLog(tmp_path) as log:
        log.truncate(position)
        log.write([train(2, 0.125)])
    seen = events(tmp_path / "tensorboard" / "stage2-dtvg")
    values = [(v.tag, e.step, v.simple_value) for e in seen for v in e.summary.value]
    assert values == [
        ("mrpc/dtvg/seed0/loss", 1, 0.75),
        ("mrpc/dtvg/seed1/loss", 1, 0.5),
        ("mrpc/dtvg/seed0/loss", 2, 0.25),
        ("mrpc/dtvg/seed0/loss", 2, 0.125),
    ]
    starts = [event.step for event in seen if event.HasField("session_log")]
    assert starts == [2]  # TensorBoard drops earlier events from step 2 on


def test_the_log_needs_no_tensorflow():
    code = (
        "import sys, dtvg_jax.training.metrics_log; print('tensorflow' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "False\n", run.stderr


def test_every_line_is_strict_json(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write([train(1, float("inf"), similarity=np.array([np.nan, 1.0]))])
    line = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in line and "Infinity" not in line
    assert json.loads(line)["similarity"] == [None, 1.0]


@pytest.mark.parametrize("full", ["metrics.jsonl", "tensorboard/stage2-dtvg"])
def test_a_full_disk_is_said_with_the_file(tmp_path, monkeypatch, full):
    log = MetricsLog(tmp_path)
    disk = open("/dev/full", "wb", buffering=0)
    if full == "metrics.jsonl":
        monkeypatch.setattr(log, "_file", disk)
    else:
        monkeypatch.setattr(record_writer, "open_file", lambda path: disk)
    with pytest.raises(OSError, match="No space left") as error:
        log.write([train(1)])
    assert error.value.filename == str(tmp_path / full)


def test_a_log_on_gs_is_complete_at_every_checkpoint(bucket):
    """Killed after each upload, it is fetched, truncated and goes on as on a disk."""
    with MetricsLog(bucket) as log:
        assert log.position() == 0
        log.write([train(1)])
        first = log.position()
        log.write([train(2), train(3)])
        assert [one.step for one in read(bucket / "metrics.jsonl")] == [1]
        log.position()
        log.write([train(4)])  # lost: no checkpoint holds it
        log._copy.upload = lambda: None  # a kill
    with MetricsLog(bucket) as log:
        log.truncate(first)
        log.write([train(2, 0.25)])
        # Shorter than what is there still, of which the seal says the first line.
        metrics_log._check_seal(bucket)
        second = log.position()
    content = (bucket / "metrics.jsonl").read_bytes()
    assert (first, second) == (content.index(b"\n") + 1, len(content))
    assert [one.loss for one in read(bucket / "metrics.jsonl")] == [0.5, 0.25]
    metrics_log._check_seal(bucket)
    (bucket / "metrics.jsonl").write_bytes(content.replace(b"0.25", b"0.75"))
    with pytest.raises(InputError, match="gs://.*metrics.jsonl is not what was logged"):
        MetricsLog(bucket)


def test_tensorboard_on_gs_forgets_what_a_killed_process_wrote(bucket, tmp_path):
    for _ in range(2):
        with MetricsLog(bucket) as log:
            log.write([train(7)])
            log.position()
    found = sorted(bucket.glob("tensorboard/stage2-dtvg/events*"))
    assert [path.name.rpartition(".")[2] for path in found] == ["0", "1"]
    for path in found:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    marks = [one.step for one in events(tmp_path) if one.HasField("session_log")]
    assert marks == [7]
