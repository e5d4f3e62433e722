"""Data flows one way: a file imports only from rooms above its own."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# From top to bottom, the order of docs/architecture.md.
ROOMS = """
    errors shapes task_vectors prompts methods backbones formats data optim sharding
    lanes decoding evaluation store exchange checkpoints metrics_log progress stages
    plan tables aot job_folder outcomes contexts trials report job learning pretraining
    requests answers quiet field_types gin_errors cli train pretrain convert evaluate
    predict
""".split()
FILES = sorted((ROOT / "dtvg_jax").rglob("*.py"))


def room(path: pathlib.Path) -> str:
    return path.relative_to(ROOT / "dtvg_jax").parts[0].removesuffix(".py")


def imported(path: pathlib.Path) -> set[str]:
    """Lists the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_used(path: pathlib.Path) -> set[str]:
    ours = {name for name in imported(path) if name.startswith("dtvg_jax.")}
    return {name.split(".")[1] for name in ours} - {room(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_only_from_rooms_above(path):
    if path.name == "__init__.py" and path.parent.name == "dtvg_jax":
        return
    assert room(path) in ROOMS, f"{room(path)} is in no list of rooms"
    below = ROOMS[ROOMS.index(room(path)) :]
    assert not rooms_used(path) & set(below)


# gin_errors reads gin's messages, t5x_gin the files that T5X keeps beside checkpoints.
KNOW_GIN = {"cli", "gin_errors", "formats/t5x_gin"}
KNOW_FLAGS = {"cli", "quiet", "train", "pretrain", "convert", "evaluate", "predict"}


@pytest.mark.parametrize("library, known", [("gin", KNOW_GIN), ("absl", KNOW_FLAGS)])
def test_only_the_command_line_knows_gin_and_flags(library, known):
    for path in FILES:
        name = str(path.relative_to(ROOT / "dtvg_jax").with_suffix(""))
        foreign = {module.split(".")[0] for module in imported(path)}
        assert library not in foreign or name in known, path


def test_tasks_know_nothing_of_the_package():
    for path in (ROOT / "tasks").rglob("*.py"):
        assert not any(name.startswith("dtvg_jax") for name in imported(path)), path


def test_a_job_can_start_without_tensorflow():
    program = (
        "import sys, dtvg_jax.job, dtvg_jax.cli;"
        "print([m for m in ('tensorflow', 'seqio') if m in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
