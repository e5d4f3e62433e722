"""Pretraining: the curriculum, the duplicate heads, one step, an exact resume."""

import dataclasses
import json
import math
import random
import re
import subprocess
import sys
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.models import t5
from dtvg_jax.pretraining import loop, mixture, model
from tasks.miniature import bases, vocabulary

CONFIG = t5.T5Config(
    vocab_size=432,
    d_model=16,
    d_kv=4,
    num_heads=2,
    d_ff=16,
    num_layers=1,
    num_decoder_layers=1,
    dropout_rate=0.0,
)
SETTINGS = loop.Settings(
    steps=120,
    buckets=((6, 20), (2, 32)),
    learning_rate=0.05,
    renew_every=15,
    measure_every=100,
    measure_rows=50,
    save_every=20,
)


class Toy(typing.NamedTuple):
    """A base that anything can learn: the answer is a word of the text."""

    name: str
    classes: tuple[str, ...] = ("yes", "no")
    maps: tuple[str, ...] = ("words", "01", "10")
    early: bool = True
    weight: float = 1.0

    def example(self, rng: random.Random, label_map: str) -> tuple[str, str]:
        label = int(rng.random() * 2)
        target = self.classes[label] if label_map == "words" else label_map[label]
        return f"{self.name} Ann is {('good', 'bad')[label]}", target


TOYS = (Toy("mnli"), Toy("qnli"), Toy("sst2", early=False))


def run(out, settings=SETTINGS, toys=TOYS):
    return loop.pretrain(out, pretraining(settings=settings, bases=toys))


def pretraining(**changes) -> loop.Pretraining:
    given = loop.Pretraining(CONFIG, SETTINGS, TOYS, vocabulary.vocabulary_model())
    return given._replace(**changes)


def weights(out):
    return load_file(out / "backbone" / "model.safetensors")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A whole run of the tiny model, and the accuracies that it ended with."""
    out = tmp_path_factory.mktemp("straight")
    return out, run(out)


@pytest.mark.slow
def test_the_loss_falls_and_easy_bases_are_learned(straight):
    out, skills = straight
    assert min(skills["words"].values()) > 80
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert losses[-1] < math.log(CONFIG.vocab_size) / 4  # a uniform guess has the log


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_weights(straight, tmp_path, monkeypatch):
    draw = mixture.draw

    def killed(*args):
        if args[4] == 37:  # after a checkpoint at 20 and a renewal of weights at 30
            raise KeyboardInterrupt
        return draw(*args)

    with monkeypatch.context() as patch:
        patch.setattr(mixture, "draw", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert not (tmp_path / "backbone").exists()
    run(tmp_path)
    names = ("model.safetensors", "config.json", "spiece.model", "skills.json")
    for name in (*(f"backbone/{name}" for name in names), "metrics.jsonl"):
        assert (straight[0] / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.slow
def test_what_a_check_raises_goes_on_after_the_state_is_saved(straight, tmp_path):
    """After 33 steps: between a renewal of weights at 30 and a save at 40."""
    made = 0

    def check():
        nonlocal made
        made += 1
        if made == 34:
            raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        loop.pretrain(tmp_path, pretraining(), check)
    steps = [int(path.name) for path in (tmp_path / "checkpoints").iterdir()]
    assert max(steps) == 33
    run(tmp_path)
    for name in ("backbone/model.safetensors", "metrics.jsonl"):
        assert (straight[0] / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_folder_of_another_run_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="other settings"):
        run(tmp_path)


def test_a_folder_that_another_process_holds_is_refused(tmp_path):
    with files.locked(tmp_path / ".lock"):
        with pytest.raises(InputError, match="works on .* or give another --out"):
            run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_vocabulary_larger_than_the_model_is_refused(tmp_path):
    small = t5.T5Config(**{**vars(CONFIG), "vocab_size": 9})
    with pytest.raises(InputError, match="421 pieces"):
        loop.pretrain(tmp_path, pretraining(config=small))


@pytest.mark.slow
def test_the_command_reads_gin_and_writes_a_hugging_face_folder(tmp_path):
    bindings = {
        "loop.Settings.steps": 1,
        "loop.Settings.measure_rows": 2,
        "t5.T5Config.d_model": 16,
        "t5.T5Config.num_layers": 1,
        "mixture.Curriculum.all_bases": 0.25,
    }
    command = [sys.executable, "-m", "dtvg_jax.pretrain", f"--out={tmp_path}"]
    command += ["--gin_file=gin/runs/pretrain_miniature.gin"]
    command += [f"--gin.{name}={value}" for name, value in bindings.items()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "backbone" / "config.json").read_text())
    assert (config["d_model"], config["d_kv"], config["num_layers"]) == (16, 24, 1)
    assert weights(tmp_path)["shared.weight"].shape == (432, 16)
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["curriculum"]["all_bases"] == 0.25


@pytest.mark.parametrize(
    "fraction, share", [(0.0, 0), (0.4, 0), (0.475, 0.35), (0.55, 0.7), (1.0, 0.7)]
)
def test_other_maps_come_in_slowly(fraction, share):
    assert mixture.Curriculum().share(fraction) == pytest.approx(share)


@pytest.mark.parametrize(
    "accuracy, fraction, expected",
    [
        ((0.5, 0.5, 0.5), 0.1, (1 / 2, 1 / 2, 0)),  # the late base waits
        ((0.5, 0.5, 0.5), 0.5, (1 / 3, 1 / 3, 1 / 3)),
        ((0.75, 0.5, 0.5), 0.5, (1 / 5, 2 / 5, 2 / 5)),  # half known, half as often
        ((1.0, 0.5, 0.2), 0.5, (0.15 / 2.15, 1 / 2.15, 1 / 2.15)),  # floor, ceiling
    ],
)
def test_bases_are_drawn_by_what_is_not_known(accuracy, fraction, expected):
    weights = mixture.base_weights(
        TOYS, np.array(accuracy), fraction, mixture.Curriculum()
    )
    np.testing.assert_allclose(weights, expected)


def test_batches_are_pure_and_rows_that_do_not_fit_are_left_out():
    rows = [
        mixture.Row(0, "words", "a b c", "yes"),
        mixture.Row(1, "01", "a", "0"),
        mixture.Row(0, "words", "a b", "no"),
    ]
    ids = {"a b c": [5, 6, 7], "a": [5], "a b": [5, 6], "yes": [3], "no": [4], "0": [9]}
    batch = mixture.tokens(
        rows, ("words", "01"), lambda xs: [ids[x] for x in xs], 1, ((2, 3), (1, 3)), 2
    )
    assert [part.tolist() for part in batch.inputs] == [
        [[5, 1, -1], [5, 6, 1]],
        [[5, 6, 7]],
    ]
    assert batch.targets.tolist() == [[9, 1], [4, 1], [-1, -1]]
    assert (batch.base.tolist(), batch.map.tolist()) == ([1, 0, 0], [1, 0, 0])
    even = np.ones(3) / 3
    one, two = (mixture.draw(TOYS, even, 0.5, 0, 7, 20) for _ in range(2))
    assert one == two != mixture.draw(TOYS, even, 0.5, 0, 8, 20)


def test_equal_words_find_each_other_at_the_start():
    """Half of the heads of a fresh model look most at the other copy of a word."""
    config = t5.T5Config(**{**vars(CONFIG), "d_model": 96, "d_kv": 24, "num_heads": 4})
    params = model.start(config, 0, 1, 1, (1, 1))["model"]
    attention = params["encoder"]["layers"]["attention"]
    layer = jax.tree.map(lambda x: x[0], attention)
    words = np.array(params["token_embedder"]["embedding"][10:18])
    words = np.concatenate([words, words])
    words /= np.sqrt(np.mean(words**2, axis=1, keepdims=True))
    query, key = (
        (words @ np.array(layer[name]["kernel"])).reshape(16, 4, 24)
        for name in ("query", "key")
    )
    scores = np.einsum("qnd,knd->nqk", query, key)
    scores -= 1e9 * np.eye(16)
    twin = (np.arange(16) + 8) % 16
    found = (scores.argmax(-1) == twin).mean(-1)
    assert (found[:2] > 0.9).all() and (found[2:] < 0.5).all()
    table = np.array(params["encoder"]["relpos_bias"]["rel_embedding"])
    assert (table[:2, 0] == -3).all() and (table[2:, 0] > -3).all()


def test_the_schedule_rises_stays_and_falls():
    rate = model.schedule(100, 0.02, 0.02, 0.7, 0.05)
    got = [float(rate(step)) for step in (0, 1, 50, 69, 84, 99)]
    np.testing.assert_allclose(got, [0.01, 0.02, 0.02, 0.02, 0.0105, 0.001], rtol=1e-5)


def test_the_moving_accuracy_moves_by_rows_seen():
    batch = mixture.Batch(
        base=jnp.array([0, 0, 1, 1]),
        inputs=(),
        map=jnp.zeros(4, int),
        targets=jnp.array([[3, 1], [4, 1], [3, 1], [-1, -1]]),
    )
    right = jnp.array([True, False, True, True])
    got = model.moving_accuracy(jnp.zeros(3), batch, right)
    np.testing.assert_allclose(got, [(1 - 0.98**2) / 2, 0.02, 0.0], rtol=1e-5)


def test_every_base_can_be_drawn_with_every_map():
    rng = random.Random(0)
    for base in bases.bases():
        for label_map in base.maps:
            text, target = base.example(rng, label_map)
            digits = {"0", "1", "2"}
            assert (target in digits) == (label_map != "words"), (base.name, text)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"settings": dataclasses.replace(SETTINGS, steps=-3)}, "settings.steps = -3"),
        (
            {"settings": dataclasses.replace(SETTINGS, buckets=((6, 0),))},
            "settings.buckets = ",
        ),
        (
            {"config": dataclasses.replace(CONFIG, layer_norm_epsilon=math.nan)},
            "config.layer_norm_epsilon = nan: it must be a number from 1e-12 to 1",
        ),
        (
            {"config": dataclasses.replace(CONFIG, dropout_rate=1.5)},
            "config.dropout_rate = 1.5: it must be a number from 0 to 0.99",
        ),
        (
            {"curriculum": mixture.Curriculum(maps_share=2)},
            "curriculum.maps_share = 2: it must be a number from 0 to 1",
        ),
    ],
)
def test_numbers_out_of_range_are_named(tmp_path, changes, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        loop.pretrain(tmp_path / "out", pretraining(**changes))
    assert not (tmp_path / "out").exists()
