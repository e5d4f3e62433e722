"""The command line: sentences for mistakes, layers of settings, flags."""

import pathlib
import re

import jaxtyping
import pytest

import gin
from dtvg_jax.cli import command, compilation_cache, gin_settings
from dtvg_jax.cli.commands import pretrain, train
from dtvg_jax.jobs import job
from dtvg_jax.training.stages import Stage

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = "--gin_file=gin/test/small_job.gin"
TEXT = (ROOT / "gin/test/small_job.gin").read_text()


def line_of(text: str) -> int:
    [number] = [n for n, line in enumerate(TEXT.splitlines(), 1) if line == text]
    return number


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the command in this process: its exit code, its output, its errors."""
    monkeypatch.chdir(ROOT)
    # Users do not have the import hook of the tests, which would see a mistake first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)

    def run(*given: str, of: command.Command = train.COMMAND) -> tuple[int, str, str]:
        gin.clear_config()
        with pytest.raises(SystemExit) as end:
            command.run(of, ["command", *given])
        assert isinstance(end.value.code, int)
        return end.value.code, *capsys.readouterr()

    yield run
    gin.clear_config()


def sentence(run, *given: str) -> str:
    """Runs a command that has a mistake, and gives its one sentence."""
    code, out, err = run(*given, "--dry_run")
    assert code == 2 and out == "", err
    [line] = err.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


# What is given beside small_job.gin, and what is answered after "--gin.WHAT: ".
BINDINGS = {
    "stage1/stages.Stage.stepz=3": (
        "stages.Stage has no setting 'stepz': did you mean 'steps'?"
    ),
    "job.Jobs.seeds=[1]": (
        "there is nothing called 'job.Jobs': did you mean 'job.Job'?"
    ),
    "jobs.Job.seeds=[1]": (
        "there is nothing called 'jobs.Job': did you mean 'job.Job'?"
    ),
    "job.Job.stage1=@stage1/stages.Stag()": (
        "there is nothing called 'stages.Stag': did you mean 'stages.Stage'?"
    ),
    "job.Job.stage1=@stage1/stages.Stage": (
        "stage1 must be a Stage: @stage1/stages.Stage()"
    ),
    "stage3/stages.Stage.steps=3": (
        "stage3/stages.Stage.steps is set but nothing reads it: "
        "did you mean 'stage2/stages.Stage.steps'?"
    ),
    "SEEDS=[1]": "SEEDS is set but nothing reads it",
    "stages.Stage.log_every=5": (
        "stages.Stage.log_every has no effect: "
        "set stage1/stages.Stage.log_every, stage2/stages.Stage.log_every"
    ),
    "job.Job.seeds=%SEEDS": "the macro SEEDS is never set",
    "job.Job.dtype=float32": ("float32 is not a value: text needs quotes, 'float32'"),
    "job.Job.seeds=[1": "a bracket or quote is not closed",
    "job.Job.seeds=": "a value is missing, or is not a literal",
    "job.Job.seeds=[1] + [2]": "more follows the value, which must be one literal",
    "job.Job.seeds=['a']": (
        "seeds = ['a']: it must be a list of whole numbers from 0 to 4,294,967,295"
    ),
    "job.Job.dtype='x'": "dtype = 'x': it must be 'float32' or 'bfloat16'",
    "job.Job.backbone=3": "backbone = 3: it must be text",
    "job.Job.stage1=@job.Job()": "job.Job refers to itself",
    "job.Job.stage1=None": "stage1 must be a Stage: @stage1/stages.Stage()",
    "stage1/stages.Stage.steps=0": "steps = 0: it must be a whole number of at least 1",
    "stage2/stages.Stage.warmup=-1": (
        "warmup = -1: it must be a whole number of at least 0"
    ),
    "stage2/stages.Stage.learning_rate='a'": (
        "learning_rate = 'a': it must be a number of at least 0"
    ),
    "stage1/stages.Stage.steps=True": (
        "steps = True: it must be a whole number of at least 1"
    ),
    "stage1/stages.Stage.dropout=3": "dropout = 3: it must be True or False",
    "stage1/stages.Stage.optimiser='adam'": (
        "unknown optimiser 'adam': known are adamw_stage1, adamw_stage2, adafactor"
    ),
}


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_mistyped_binding_is_one_sentence(run, binding):
    flag = f"--gin.{binding}"
    assert sentence(run, SMALL, flag) == f"{flag}: {BINDINGS[binding]}"


SEEDS, STEPS = "job.Job.seeds = [0, 1]", "stage1/stages.Stage.steps = 12"
IMPORT = "from dtvg_jax.training import stages"
TARGETS = 'job.Job.targets = ["mrpc", "superglue-cb"]'

# A line of small_job.gin, what stands there instead, and the answer.
LINES = [
    (SEEDS, "job.Job.seed = [0]", "job.Job has no setting 'seed': did you mean"),
    (SEEDS, "job.Job.seeds [0]", "it is not NAME = VALUE"),
    (SEEDS, "job.Job.seeds = [0, 0]", "seeds names 0 twice"),
    (
        STEPS,
        STEPS.replace("12", "'a'"),
        "steps = 'a': it must be a whole number of at least 1",
    ),
    (TARGETS, 'job.Job.targets = ["rtee"]', "unknown task 'rtee': did you mean 'rte'?"),
    (
        IMPORT,
        "from dtvg_jax.training import stagess",
        "there is no module 'dtvg_jax.training.stagess': "
        "did you mean 'dtvg_jax.training.stages'?",
    ),
    (
        IMPORT,
        "from dtvg.training import stages",
        "there is no module 'dtvg': did you mean 'dtvg_jax'?",
    ),
    (
        SEEDS,
        "include 'gin/test/smal_job.gin'",
        "there is no gin file gin/test/smal_job.gin: did you mean 'small_job.gin'?",
    ),
]


@pytest.mark.parametrize("old, new, answer", LINES, ids=[new for _, new, _ in LINES])
def test_a_mistake_in_a_file_is_named_with_its_line(run, tmp_path, old, new, answer):
    path = tmp_path / "some.gin"
    path.write_text(TEXT.replace(old, new))
    got = sentence(run, f"--gin_file={path}")
    assert got.startswith(f"{path}, line {line_of(old)}: {answer}")


DYNAMIC = "from __gin__ import dynamic_registration\n"
MESH = "from dtvg_jax.training import placement\n"


def test_a_file_without_dynamic_registration_is_told_so(run, tmp_path):
    path, base = tmp_path / "some.gin", SMALL.removeprefix("--gin_file=")
    path.write_text(f'{MESH}include "{base}"\nplacement.Mesh.fsdp = 2\n')
    assert sentence(run, f"--gin_file={path}") == (
        f"{path}, line 3: 'placement.Mesh' is not found without the line "
        "`from __gin__ import dynamic_registration` at the top of the file"
    )


def test_what_no_file_names_cannot_be_set_by_a_flag(run, tmp_path):
    path, base = tmp_path / "some.gin", SMALL.removeprefix("--gin_file=")
    path.write_text(f'{DYNAMIC}{MESH}include "{base}"\n')
    flag = "--gin.placement.Mesh.fsdp=2"
    assert sentence(run, f"--gin_file={path}", flag) == (
        f"{flag}: no gin file sets or refers to 'placement.Mesh', so a flag cannot: "
        "set it in a file"
    )


@pytest.mark.parametrize(
    "old, new, at, answer",
    [
        (
            STEPS,
            "stage11/stages.Stage.steps = 12",
            "job.Job.stage1 = @stage1/stages.Stage()",
            "stage1/stages.Stage needs 'steps': "
            "stage11/stages.Stage.steps is set, is that meant?",
        ),
        (
            SEEDS,
            "job.Job.seeds = %SEEDS\nSEED = [1]",
            SEEDS,
            "the macro SEEDS is never set: did you mean 'SEED'?",
        ),
        (
            SEEDS,
            "SEEDS = %gin.REQUIRED\njob.Job.seeds = %SEEDS",
            SEEDS,
            "SEEDS is required: give --gin.SEEDS=VALUE",
        ),
        (
            SEEDS,
            "job.Job.seeds = %gin.REQUIRED",
            SEEDS,
            "job.Job.seeds is required: give --gin.job.Job.seeds=VALUE",
        ),
        (
            IMPORT,
            "",
            "job.Job.stage1 = @stage1/stages.Stage()",
            "'stages' is not imported in this file",
        ),
    ],
)
def test_what_is_absent_is_named_where_it_is_used(run, tmp_path, old, new, at, answer):
    path = tmp_path / "some.gin"
    path.write_text(TEXT.replace(old, new))
    got = sentence(run, f"--gin_file={path}")
    assert got == f"{path}, line {line_of(at)}: {answer}"


CIRCLES = [
    ("A = %A\njob.Job.seeds = %A", 0, "A refers to itself"),
    ("A = %B\nB = [1,\n %A]\njob.Job.seeds = %A", 0, "A refers to itself"),
    (
        "job.Job.stage1 = @a/stages.Stage()\nstages.Stage.steps = @stages.Stage()",
        1,
        "stages.Stage refers to itself",
    ),
]


@pytest.mark.parametrize("added, at, answer", CIRCLES, ids=[a for a, *_ in CIRCLES])
def test_settings_that_refer_to_themselves_are_named(run, tmp_path, added, at, answer):
    path = tmp_path / "some.gin"
    path.write_text(f"{TEXT}\n{added}\n")
    line = len(TEXT.splitlines()) + 2 + at
    assert sentence(run, f"--gin_file={path}") == f"{path}, line {line}: {answer}"


def test_a_byte_order_mark_is_no_setting(run, tmp_path):
    (tmp_path / "inner.gin").write_text(TEXT, encoding="utf-8-sig")
    top = tmp_path / "top.gin"
    top.write_text(f"include '{tmp_path}/inner.gin'\n", encoding="utf-8-sig")
    assert configured(run, f"--gin_file={top}") == configured(run, SMALL)


def test_files_that_cannot_be_read_are_named(run, tmp_path):
    path = tmp_path / "a.gin"
    flag = f"--gin_file={path}"
    assert sentence(run, flag) == f"there is no gin file {path}"
    (tmp_path / "b.gin").mkdir()
    answer = f"{tmp_path / 'b.gin'} is a folder: give a gin file in it"
    assert sentence(run, f"--gin_file={tmp_path / 'b.gin'}") == answer
    path.write_bytes(b"\xff\xfe")
    assert sentence(run, flag).startswith(f"{path} is not UTF-8 text (")
    path.write_text(f"\ninclude '{path}'\n")
    assert sentence(run, flag) == f"{path}, line 2: {path} includes itself"
    path.write_text("")
    missing = "'backbone', 'sources', 'targets', 'stage1', and 'stage2'"
    assert sentence(run, flag) == f"Job needs {missing}: set what is missing"


@pytest.mark.parametrize(
    "given, answer",
    [
        ([], "no settings: give --gin_file=FILE, such as one of gin/runs/"),
        (["--jobdir=x"], "there is no flag --jobdir: did you mean '--job_dir'?"),
        ([SMALL, "word"], "'word' is not a flag: flags begin with --"),
        ([SMALL, "--dry_run=so"], "--dry_run=so: Non-boolean argument to boolean flag"),
        (["--gin_file"], "Missing value for flag --gin_file"),
        ([SMALL], "no folder for the job: give --job_dir=DIR"),
        ([SMALL, "--job_dir="], "--job_dir is empty: give a value, or leave it out"),
        ([SMALL, "--gin_file="], "--gin_file is empty: give a value, or leave it"),
        ([SMALL, "--compile_only"], "--compile_only needs --topology"),
    ],
)
def test_a_mistyped_flag_is_one_sentence(run, given, answer):
    code, out, err = run(*given)
    assert (code, out, err.count("\n")) == (2, "", 1) and answer in err


PRETRAIN = "--gin_file=gin/runs/pretrain_miniature.gin"


@pytest.mark.parametrize(
    "given, answer",
    [
        ([PRETRAIN], "no folder for the run: give --out=DIR"),
        (
            [PRETRAIN, "--gin.loop.Settings.step=1"],
            "loop.Settings has no setting 'step': did you mean 'steps'?",
        ),
        (
            [PRETRAIN, "--gin.t5.T5Config.d_model='a'"],
            "config.d_model = 'a': it must be a whole number from 1 to 1,048,576",
        ),
        (
            [PRETRAIN, "--gin.loop.Settings.buckets=(1, 2)"],
            "settings.buckets = (1, 2): it must be a list",
        ),
    ],
)
def test_pretraining_answers_alike(run, tmp_path, given, answer):
    out = [f"--out={tmp_path / 'out'}"] if len(given) > 1 else []
    code, _, err = run(*given, *out, of=pretrain.COMMAND)
    assert code == 2 and err.endswith(f"{answer}\n")
    assert not any(tmp_path.iterdir())


def configured(run, *given: str) -> job.Job:
    """Gives the job that flags make."""
    gin.clear_config()
    command.parse(train.COMMAND, ["train", *given])
    return gin_settings.configure(job.Job, train.GIN)


def test_later_layers_override_earlier_ones(run, tmp_path, caplog):
    (tmp_path / "base.gin").write_text(
        f"from __gin__ import dynamic_registration\n{IMPORT}\n"
        "SEEDS = [3]\nstages.Stage.log_every = 7\nstages.Stage.remat = True\n"
    )
    (tmp_path / "top.gin").write_text(
        "include 'base.gin'\n" + TEXT.replace("[0, 1]", "%SEEDS")
    )
    given = ["--gin_file=top.gin", f"--gin_search_paths=nowhere,{tmp_path}"]
    made = configured(run, *given)
    assert made.seeds == [3]
    stages = made.stage1, made.stage2
    assert [(one.log_every, one.remat) for one in stages] == [(2, True)] * 2
    again = configured(run, *given, "--gin.SEEDS=[4]", "--gin.stage2/Stage.remat=False")
    assert again.seeds == [4] and again.stage1 == made.stage1
    assert again.stage2.remat is False
    assert not caplog.records  # gin would tell of each folder that lacks the file


def test_files_of_the_package_are_found_from_anywhere(run, tmp_path, monkeypatch):
    here = configured(run, SMALL)
    monkeypatch.chdir(tmp_path)
    for name in ("gin/test/small_job.gin", "test/small_job.gin"):
        assert configured(run, f"--gin_file={name}") == here


def test_the_operative_config_makes_the_same_job(run, tmp_path):
    made = configured(run, SMALL, "--gin.stage2/Stage.steps=9")
    (tmp_path / "config.gin").write_text(gin_settings.operative_config())
    assert made.stage2 == Stage(
        steps=9,
        learning_rate=0.1,
        warmup=0,
        batch_size=4,
        validate_every=3,
        log_every=2,
        optimiser="adamw_stage2",
    )
    assert configured(run, f"--gin_file={tmp_path}/config.gin") == made


def test_a_dry_run_shows_the_plan_and_writes_nothing(run, tmp_path, cache):
    folder = tmp_path / "job"
    kept = f"--gin.job.Job.cache_dir='{cache}'"
    code, out, _ = run(SMALL, kept, f"--job_dir={folder}", "--dry_run")
    assert code == 0 and not any(tmp_path.iterdir())
    assert "stage1: 8 lanes, batch size 4, validated every 4 steps\n" in out
    assert "  prompt_tuning, 12 steps: sst2, qnli, mrpc, superglue-cb\n" in out
    # SPoT trains as long as both stages do.
    assert "stage2-prompt_tuning-spot: 8 lanes" in out
    assert "  prompt_tuning, 6 steps: mrpc, superglue-cb\n" in out
    assert "  spot, 18 steps: mrpc, superglue-cb\n" in out
    # Of every task, two seeds of four rows.
    means = re.findall(r"^(?:sst2|qnli|mrpc|superglue-cb) +([\d.]+)", out, re.M)
    [tokens] = re.findall(r"stage1: microbatches .* tokens; (\d+) input tokens", out)
    assert int(tokens) == pytest.approx(8 * sum(map(float, means)), rel=0.05)


def test_a_folder_that_cannot_be_written_is_no_cache(tmp_path):
    import jax

    before = jax.config.values["jax_compilation_cache_dir"]
    (tmp_path / "file").write_text("")
    compilation_cache.enable(str(tmp_path / "file"))
    assert jax.config.values["jax_compilation_cache_dir"] == before
