"""A command on a CPU restarts with memory settings, once and only where they help."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest
from absl import flags

from dtvg_jax.cli import host_settings

ROOT = pathlib.Path(__file__).resolve().parents[2]
OURS = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824"
OURS += ":glibc.malloc.trim_threshold=4294967296"

# A command that says which process runs it, then waits, is wrong, or ends.
PROGRAM = """
import os, sys, time
from absl import flags
from dtvg_jax.cli import command, host_settings
from dtvg_jax.errors import InputError

def main(words, received):
    with received.between_steps() as check:
        print(os.getpid(), sys.argv[1:], os.environ.get("GLIBC_TUNABLES"), flush=True)
        if words == ["wrong"]:
            raise InputError("a sentence")
        while words == ["wait"]:
            time.sleep(0.01)
            check()

FLAGS = flags.FlagValues()
host_settings.define_flag(FLAGS)
command.run(
    command.Command("", FLAGS, main, "WORDS", resumes=True), sys.argv
)
"""


@pytest.fixture
def started(monkeypatch):
    """Calls `apply` as a command on a CPU under glibc; gives what it would start."""
    executed = []
    monkeypatch.setattr(os, "execve", lambda *given: executed.append(given))
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36")
    monkeypatch.setattr(host_settings, "ACCELERATORS", ())
    monkeypatch.setattr(sys, "argv", [__file__, "--seed=1"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "one", "--seed=1"])
    for name in ("GLIBC_TUNABLES", "JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
        monkeypatch.delenv(name, raising=False)

    def started(*arguments: str) -> list:
        host_settings.apply(arguments or sys.argv)
        return executed

    return started


def test_the_same_command_starts_with_the_settings(started, capsys):
    [(path, command, environment)] = started()
    assert (path, command) == (
        sys.executable,
        [sys.executable, "-m", "one", "--seed=1"],
    )
    assert environment == os.environ | {"GLIBC_TUNABLES": OURS}
    [line] = capsys.readouterr().err.splitlines()
    assert (
        line == f"restarted with GLIBC_TUNABLES={OURS}; --nohost_settings prevents it"
    )


@pytest.mark.parametrize(
    "name, value, restarts",
    [
        ("GLIBC_TUNABLES", "", False),  # the user's own, even if empty
        ("JAX_PLATFORMS", "cpu", True),
        ("JAX_PLATFORMS", "cpu,cuda", True),
        ("JAX_PLATFORMS", "cuda,cpu", False),
        ("JAX_PLATFORM_NAME", "tpu", False),
    ],
)
def test_the_environment_decides(started, monkeypatch, name, value, restarts):
    monkeypatch.setenv(name, value)
    assert bool(started()) == restarts


@pytest.mark.parametrize(
    "libc, restarts",
    [("glibc 2.35", True), ("glibc 2.34", False), ("glibc 3.0", True), (None, False)],
)
def test_only_a_glibc_that_knows_the_settings(started, monkeypatch, libc, restarts):
    monkeypatch.setattr(os, "confstr", lambda name: libc)
    assert bool(started()) == restarts


def test_a_c_library_without_a_version(started, monkeypatch):
    def unknown(name: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", unknown)
    assert not started()


@pytest.mark.parametrize("platforms, restarts", [("", False), ("cpu", True)])
def test_an_accelerator_is_left_alone_unless_jax_is_told_so(
    started, monkeypatch, tmp_path, platforms, restarts
):
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(host_settings, "ACCELERATORS", (f"{tmp_path}/nvidia[0-9]*",))
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    assert bool(started()) == restarts


@pytest.mark.parametrize("given, wanted", [("", True), ("--nohost_settings", False)])
def test_the_flag_decides(given, wanted):
    known = flags.FlagValues()
    assert not host_settings.wanted(known)  # a command that runs no backbone
    host_settings.define_flag(known)
    known(["one", *given.split()])
    assert host_settings.wanted(known) == wanted


def test_not_for_a_program_that_calls_a_command(started):
    assert not started(__file__, "--seed=2")


@pytest.mark.parametrize("program", ["-c", "-", ""])
def test_not_for_a_program_that_could_not_be_read_again(started, monkeypatch, program):
    monkeypatch.setattr(sys, "argv", [program])
    assert not started()


@pytest.fixture
def program(tmp_path):
    """Starts the program above with some words, in an environment without tunables."""
    if not host_settings.on_glibc():
        pytest.skip("the settings are glibc's")
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}

    def start(*words: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, str(path), *words],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start


@pytest.mark.parametrize("word, code", [("well", 0), ("wrong", 2)])
def test_process_words_and_exit_code_are_the_same(program, word, code):
    process = program(word)
    out, err = process.communicate(timeout=20)
    assert out == f"{process.pid} ['{word}'] {OURS}\n"
    assert process.returncode == code
    first, *others = err.splitlines()
    assert first.startswith("restarted with")
    assert others == (["error: a sentence"] if code else [])


def test_a_signal_reaches_the_restarted_command(program):
    process = program("wait")
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert "stopped: run the same command again to resume" in err
