"""Own tasks and free answers by name: evaluate and predict answer as the job did."""

import json
import re
import sys

import pytest
from own_task_rows import ANSWERS, DOC, REVIEWS

import dtvg_jax as dtvg
from dtvg_jax.data import catalogue, raw_rows
from dtvg_jax.inference.ranking import Scoring
from tasks import task_info
from tasks.miniature import datasets

FREE = ("squad", "superglue-multirc", "e2e")
OWN = ("by_name_reviews", "by_name_answers", "by_name_follows")
MODULE = "by_name_tasks"
ROWS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder: the tasks of the document in one module, and their data."""
    made = tmp_path_factory.mktemp("by_name")
    code = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)[:3]
    text = "\n".join(code)
    for name in OWN:  # apart from those of other tests of this process
        text = text.replace(f'"{name.removeprefix("by_name_")}"', f'"{name}"')
    (made / f"{MODULE}.py").write_text(text)
    for split in ("train", "validation", "test"):
        (made / f"{split}.jsonl").write_text(REVIEWS)
        (made / f"{split}.csv").write_text(ANSWERS)
    builders = [task_info.TASKS[task].builder for task in FREE] + ["glue/rte:2.0.0"]
    datasets.write(made / "data", builders=builders)
    sys.path.insert(0, str(made))
    yield made
    sys.path.remove(str(made))


def plain(value):
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, bytes):
        return value.decode()
    return [plain(one) for one in value] if getattr(value, "ndim", 0) else value.item()


def lines(task: str, data_dir) -> list[bytes]:
    """The first test rows of a task, as a user sends them."""
    form = raw_rows.form(task, "digits", catalogue.ALL if task in FREE else MODULE)
    if loader := getattr(form.task.source, "tfds_dataset", None):
        loader.override_data_dir(str(data_dir))
    rows = form.task.source.get_dataset("test", shuffle=False).take(ROWS)
    return [
        json.dumps({"task": task} | {name: plain(row[name]) for name in form.fields})
        .encode()
        for row in rows.as_numpy_iterator()
    ]  # fmt: skip


def answers(folder, task: str, file: str) -> list[str]:
    text = (folder / "predictions" / file.format(task)).read_text()
    return [json.loads(line)["prediction"] for line in text.splitlines()]


@pytest.mark.slow
def test_answers_by_name_are_those_of_the_job(folder, cache, tmp_path):
    common = {"data_dir": str(folder / "data"), "tasks_module": MODULE}
    prompts = dtvg.learn(
        [*FREE, *OWN],
        tmp_path / "job",
        stage=dtvg.Stage(
            steps=2, learning_rate=0.1, warmup=0, batch_size=2, validate_every=2
        ),
        seeds=[0],
        prompt_length=4,
        inputs_length=64,
        targets_length=8,
        validation_rows=ROWS,
        test_rows=ROWS,
        cache_dir=str(cache),
        **common,
    )
    backbone = dtvg.load_backbone("miniature")
    asked = dtvg.EvaluateSettings(rows=ROWS, cache_dir=str(cache), **common)
    results = dtvg.evaluate(backbone, prompts, tmp_path / "tested", asked)
    assert {result.task for result in results} == {*FREE, *OWN}
    settings = dtvg.PredictSettings(tasks_module=MODULE)
    for task in (*FREE, *OWN):
        of_job = answers(tmp_path / "job", task, "{}-stage1-seed0-test.jsonl")
        tested = answers(tmp_path / "tested", task, "{0}-stage1-seed0-on-{0}.jsonl")
        given = list(
            dtvg.predict(backbone, prompts, lines(task, folder / "data"), settings)
        )
        assert [one.get("prediction", one) for one in given] == tested == of_job
    ranked = [task for task in OWN if task != "by_name_answers"]
    asked = dtvg.EvaluateSettings(
        tasks=[*ranked, "superglue-multirc"], scoring=Scoring.RANK, rows=ROWS,
        cache_dir=str(cache), **common,
    )  # fmt: skip
    dtvg.evaluate(backbone, prompts, tmp_path / "ranked", asked)
    settings = settings._replace(scoring=Scoring.RANK)
    for task, labels in (
        ("by_name_reviews", {"bad", "good"}),
        ("by_name_follows", {"yes", "no"}),
        ("superglue-multirc", {"0", "1"}),
    ):
        tested = answers(tmp_path / "ranked", task, "{0}-stage1-seed0-on-{0}.jsonl")
        given = list(
            dtvg.predict(backbone, prompts, lines(task, folder / "data"), settings)
        )
        assert [one.get("prediction", one) for one in given] == tested
        assert set(tested) <= labels
    for task, said in (("squad", "greedy"), ("by_name_answers", "greedy, or describe")):
        for one in dtvg.predict(
            backbone, prompts, lines(task, folder / "data"), settings
        ):
            assert f"so they cannot be ranked: use --scoring={said}" in one["error"]
    asked = dtvg.EvaluateSettings(
        tasks=["by_name_answers"], scoring=Scoring.RANK, cache_dir=str(cache), **common
    )
    with pytest.raises(dtvg.InputError, match="or describe its labels"):
        dtvg.evaluate(backbone, prompts, tmp_path / "none", asked)
