"""A user's own `tasks` neither breaks a command nor is taken for the repository's."""

import os
import pathlib
import subprocess
import sys
import types

import pytest

from dtvg_jax.data import catalogue, fingerprints
from dtvg_jax.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]
OTHERS = [
    "tasks.py",
    *(
        pytest.param(file, marks=pytest.mark.slow)
        for file in ("tasks/__init__.py", "tasks/notes.txt")
    ),
]


@pytest.fixture(params=OTHERS)
def elsewhere(request, tmp_path):
    """A user's folder in which `import tasks` finds something else."""
    file = tmp_path / request.param
    file.parent.mkdir(exist_ok=True)
    file.write_text("raise SystemExit('another tasks was imported')")
    return tmp_path


def run(folder: pathlib.Path, *arguments: str) -> str:
    """Runs Python in a folder, which comes first on its path; gives what it prints."""
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_command_works_where_a_user_has_tasks_of_that_name(elsewhere):
    gin_file = "--gin_file=gin/test/small_job.gin"
    shown = run(elsewhere, "-m", "dtvg_jax.train", "--dry_run", gin_file)
    assert "superglue-cb" in shown


METRICS = """
import sys
from dtvg_jax.data import catalogue, fingerprints
how = catalogue.scoring(catalogue.known()["rte"], "digits")
print(how.metrics[0].__module__, how.metric_names[0], fingerprints.code_digest())
assert "tasks" not in sys.modules or catalogue.is_ours("tasks")
"""


def test_a_task_is_scored_by_our_functions_whatever_tasks_is_found(elsewhere):
    digest = fingerprints.code_digest()
    module, metric, found = run(elsewhere, "-c", METRICS).split()
    assert module == (
        "tasks.metrics"
        if (elsewhere / "tasks/notes.txt").exists()
        else "dtvg_tasks.metrics"
    )
    assert (metric, found) == ("accuracy", digest)
    assert run(ROOT, "-c", METRICS).split() == ["tasks.metrics", metric, digest]


OWN = """
from dtvg_jax.data import catalogue
own = catalogue.import_tasks("tasks.own")
assert own.__file__.endswith("tasks/own.py"), own
ours = catalogue.module("task_info")
assert ours.__name__ == "dtvg_tasks.task_info" and "rte" in ours.KNOWN
"""


def test_a_users_package_of_that_name_stays_theirs(tmp_path):
    (tmp_path / "tasks").mkdir()
    for name in ("__init__.py", "own.py"):
        (tmp_path / "tasks" / name).touch()
    assert run(tmp_path, "-c", OWN) == ""


@pytest.mark.slow
def test_other_programs_get_all_tasks_from_one_module_and_can_cache_them(tmp_path):
    (tmp_path / "tasks.py").write_text("MINE = 1")
    program = """
import seqio
import tasks
import dtvg_jax.data.seqio_tasks
assert tasks.MINE == 1
names = seqio.TaskRegistry.names()
assert {"dtvg_rte", "dtvg_squad_words", "dtvg_stsb_reference"} <= set(names)
# seqio_cache_tasks skips, with exit status 0, what it cannot cache
assert all(seqio.TaskRegistry.get(name).supports_caching for name in names)
print(*sorted(seqio.MixtureRegistry.names()))
"""
    names = run(tmp_path, "-c", program).split()
    assert {"dtvg_all", "dtvg_glue_words", "dtvg_sources"} <= set(names)


def test_a_script_that_registers_and_learns_is_not_imported_twice(
    tmp_path, monkeypatch
):
    path = tmp_path / "my_script.py"
    path.write_text("raise SystemExit('imported a second time')")
    script = types.ModuleType("__main__")
    script.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "__main__", script)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert catalogue.import_tasks("my_script") is script
    script.__file__ = "my_script.py"  # as Python has it where it starts
    assert catalogue.import_tasks("my_script") is script


@pytest.mark.parametrize(
    "name", ["my_taskz", "a/my_tasks.py", "json.py", "no.tasks", ""]
)
def test_a_module_that_is_not_there_is_a_sentence(name):
    with pytest.raises(InputError, match="there is no such module in the working dir"):
        catalogue.check_task("reviews", name)


def test_an_unknown_task_or_style_is_named_with_the_nearest():
    with pytest.raises(InputError, match="unknown task 'rtee': did you mean 'rte'"):
        catalogue.check_task("rtee")
    with pytest.raises(InputError, match="unknown label style 'word': did you mean"):
        catalogue.check_label_style("word")
