"""docs/own_method.md, executed; variants of a method in the plan of a job."""

import dataclasses
import pathlib
import re
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import dtvg_jax as dtvg
import gin
from dtvg_jax import methods
from dtvg_jax.cli import command, gin_settings
from dtvg_jax.cli.commands import train
from dtvg_jax.errors import InputError
from dtvg_jax.jobs import job, job_folder, plan
from dtvg_jax.methods import dtvg as dtvg_method
from dtvg_jax.methods import merges
from dtvg_jax.store.prompt_store import PromptStore

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs" / "own_method.md").read_text()
MODULE, USE = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
[GIN] = re.findall(r"```\n(import.*?)```", DOC, re.DOTALL)
STAGE = dtvg.Stage(steps=2, learning_rate=0.1, warmup=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder with the module of the document, importable."""
    made = tmp_path_factory.mktemp("user")
    (made / "my_methods.py").write_text(MODULE)
    sys.path.insert(0, str(made))
    yield made
    sys.path.remove(str(made))


def test_the_example_is_short():
    assert len(MODULE.splitlines()) < 40


def test_the_example_computes_what_it_says(folder):
    method = methods.by_name("my_methods:METHOD")
    rng = np.random.default_rng(0)
    p_init, start = rng.normal(size=(2, 3, 4)).astype("f4")
    sources = rng.normal(size=(3, 3, 4)).astype("f4")
    here = methods.Context(
        *map(jnp.asarray, (p_init, sources, start, np.array([True, False, True]))),
        jnp.uint32(0),
    )
    trainables, state = method.init(here)
    made, _, logged = method.prompt(trainables, state, here, jnp.array(0))
    expected = start + 0.5 * (sources[0] + sources[2]) / 2
    np.testing.assert_allclose(made, expected, rtol=1e-5)
    assert float(logged["mean_gain"]) == 0.5
    rates = method.rates(0.2)
    assert set(rates) == set(trainables) and rates["gains"] == pytest.approx(0.02)


def read_gin(file: pathlib.Path) -> job.Job:
    gin.clear_config()
    command.parse(train.COMMAND, ["train", f"--gin_file={file}"])
    made = gin_settings.configure(job.Job, train.GIN)
    gin.clear_config()
    return made


def test_the_gin_lines_find_it(folder):
    (folder / "own.gin").write_text(
        f'include "{ROOT / "gin/test/small_job.gin"}"\nfrom __gin__ import '
        f"dynamic_registration\nfrom dtvg_jax.jobs import job\n{GIN}"
    )
    made = read_gin(folder / "own.gin")
    names = [method.full_name for method in made.resolved_methods()]
    assert names == ["prompt_tuning", "scaled_mean", "scaled_mean+whole"]
    last = made.resolved_methods()[-1].settings
    assert last["class"] == "my_methods:ScaledMean" and last["gain"] == 1.0


@pytest.mark.slow
def test_the_example_is_trained(folder, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = USE.replace("steps=100", "steps=2, validate_every=2, log_every=1")
    code = code.replace("prompt_length", f"cache_dir={str(cache)!r}, prompt_length")
    names = {}
    exec(compile(code, "docs/own_method.md", "exec"), names)
    results = names["report"].results
    rows = [(row.method, row.variant) for row in results.rows if row.stage == 2]
    assert rows == [("scaled_mean", ""), ("scaled_mean", "whole")]
    assert results.job.method_settings["scaled_mean+whole"]["gain"] == 1.0
    entry = PromptStore("jobs/own_method/store").read(
        "superglue-cb/scaled_mean+whole-seed42"
    )
    assert entry.metadata.settings == results.job.method_settings["scaled_mean+whole"]
    assert entry.metadata.sources == ("sst2",)
    assert entry.arrays["gains"].shape == (16,) and np.any(entry.arrays["gains"] != 1)
    text = pathlib.Path("jobs/own_method/results.md").read_text()
    assert "- **scaled_mean+whole**: the mean of the sources' vectors" in text
    changed = code.replace("gain=1.0", "gain=2.0")
    with pytest.raises(
        InputError, match=r"methods.scaled_mean\+whole.gain was 1.0, is 2.0"
    ):
        exec(compile(changed, "docs/own_method.md", "exec"), {})


def of_methods(*given: str | methods.Method) -> job.Job:
    return job.Job(
        backbone="miniature", sources=["sst2", "qnli"], targets=["mrpc"],
        stage1=STAGE, stage2=STAGE, methods=list(given), seeds=[0, 1],
    )  # fmt: skip


SLOW = dtvg_method.Grouped(variant="slow", source_scale_rate=0.5)
RARE = dtvg_method.Grouped(variant="rare", every=5)


def test_variants_have_names_rates_and_programs_of_their_own():
    """Rates are arrays of one program; the interval is compiled in."""
    made = of_methods("dtvg", SLOW, RARE, "spot")
    programs = plan.programs(made)
    assert [one.name for one in programs] == [
        "stage1", "stage2-dtvg-dtvg+slow", "stage2-dtvg+rare", "stage2-spot",
    ]  # fmt: skip
    rates = {lane.run.name: lane.rates for lane in programs[1].lanes}
    assert list(rates) == [
        f"mrpc/{name}/seed{seed}" for seed in (0, 1) for name in ("dtvg", "dtvg+slow")
    ]
    assert rates["mrpc/dtvg/seed0"]["source_scales"] == 1e-3
    assert rates["mrpc/dtvg+slow/seed1"]["source_scales"] == 0.5
    assert rates["mrpc/dtvg+slow/seed1"]["prompt"] == STAGE.learning_rate
    assert plan.method_of(made, programs[2].runs[0]) == RARE


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            [dataclasses.replace(SLOW, source_scale_rate=0.4)],
            "methods.dtvg+slow.source_scale_rate was 0.5, is 0.4",
        ),
        ([dataclasses.replace(SLOW, variant="fast")], "methods.dtvg+fast was absent"),
        ([SLOW, "spot"], "methods.spot was absent, is present"),
        (["dtvg"], "methods.dtvg+slow was present, is absent"),
        ([SLOW], None),
    ],
)
def test_a_resumed_job_refuses_other_settings(tmp_path, change, sentence):
    was, now = (
        job_folder.planned(of_methods(*given), (), {}) for given in ([SLOW], change)
    )
    job_folder.files.write_json(tmp_path / "plan.json", was | {"splits": {}})
    if sentence is None:
        job_folder.check_plan(tmp_path, now)
    else:
        with pytest.raises(InputError, match=re.escape(sentence)):
            job_folder.check_plan(tmp_path, now)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            ["dtvg", dtvg_method.Grouped(every=2)],
            "methods names 'dtvg' twice: give one",
        ),
        ([SLOW, SLOW], "methods names 'dtvg+slow' twice: give one a `variant`"),
        (["other_seed_vectors", "subset"], "method 'subset' has no sources"),
        (["no_module:METHOD"], "the method 'no_module:METHOD' cannot be imported"),
        ([3], "methods = [3]: it must be a list"),
    ],
)
def test_methods_that_cannot_be_are_sentences(given, sentence):
    with pytest.raises(InputError) as error:
        of_methods(*given)
    assert str(error.value).startswith(sentence)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Odd(merges.Ties):
    """A method of a user's, with a setting that is no number or text."""

    odd: object = None


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, {"a": 1}, np.float32(1)])
def test_a_setting_that_cannot_be_kept_is_a_sentence(value):
    made = of_methods(Odd(odd=value))
    with pytest.raises(InputError, match="a setting of method 'ties' cannot be kept"):
        job_folder.planned(made, (), {})


def test_lists_are_settings_too():
    made = of_methods(Odd(odd=[1, "a"]), Odd(odd=[2], variant="two"))
    assert len(plan.programs(made)) == 3
    first = made.resolved_methods()[0]
    assert first.settings["odd"] == [1, "a"]
    assert hash(first) == hash(Odd(odd=(1, "a")))  # what programs are compiled by


def test_named_methods_take_the_settings_of_their_class():
    made = dataclasses.replace(
        of_methods("dtvg", "greedy", "prompt_tuning", RARE),
        method_settings=[dtvg_method.Grouped(target_scale_rate=0.03)],
    )
    scales = [one.rates(0.1).get("target_scale") for one in made.resolved_methods()]
    assert scales == [0.03, 0.03, None, 0.1]
    assert "method_settings" not in plan.settings(made)


@pytest.mark.parametrize(
    ("file", "prompt", "target_scale", "source_scales"),
    [
        ("runs/quickstart.gin", 0.2, 0.03, 0.03),
        ("runs/compare.gin", 0.2, 0.03, 0.03),
        ("runs/real_check.gin", 5e-3, 5e-3, 5e-3),
        ("test/small_job.gin", 0.1, 0.1, 1e-3),
    ],
)
def test_the_runs_of_this_repository_keep_their_rates(
    file, prompt, target_scale, source_scales
):
    """As measured in docs/results.md, whose stages had the rates of the scales."""
    for program in plan.programs(read_gin(ROOT / "gin" / file)):
        for lane in program.lanes:
            expected = dict.fromkeys(program.method.rates(1.0), prompt)
            if isinstance(program.method, dtvg_method.Grouped):
                expected |= {"target_scale": target_scale}
                expected |= {"source_scales": source_scales}
            assert lane.rates == expected
