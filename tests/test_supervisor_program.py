"""The whole program under its supervisor, with patches that fail late or wait for a next start."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.conftest import run_git
from tests.running import Poll, Running, command, copy_of_ourselves, wait_until

DOOR = "--- a/chat/__init__.py\n+++ b/chat/__init__.py\n@@ -1,1 +1,{} @@\n"
DOOR += ' """One turn from question to stored answer; discussions that outlive every process."""\n'


def patch(*lines: str) -> str:
    """Lines that run as soon as a body imports the chat."""
    return DOOR.format(len(lines) + 1) + "".join(f"+{line}\n" for line in lines)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return copy_of_ourselves(tmp_path / "workbench")


@pytest.fixture
def apply(program: Path, tmp_path: Path) -> Callable[[str], None]:
    def run(diff: str) -> None:
        done = command(program, "patch", "apply", "-", home=tmp_path / "home", input=diff)
        assert done.returncode == 0, done.stderr

    return run


def tree(program: Path) -> str:
    quiet = "--no-optional-locks", "status", "--porcelain"
    return run_git(program, "ls-files", "--stage") + run_git(program, *quiet)


def test_a_patch_that_fails_in_its_first_minute_is_taken_back(
    program: Path, apply: Callable[[str], None], tmp_path: Path
) -> None:
    """# J10, K4: the body before goes on, the source follows, the page says why."""
    before = tree(program)
    with Running(program, tmp_path / "home") as bench:
        first = bench.body()
        with Poll(bench.url) as poll:
            apply(patch("import os, threading", "threading.Timer(4, os._exit, [3]).start()"))
            wait_until(lambda: "The new version is serving" in bench.words(), "the swap")
            wait_until(lambda: "The body is gone" in bench.words(), "the fall")
            wait_until(lambda: tree(program) == before, "the source to come back")
            assert bench.body() == first
        assert len(poll.failed) <= 1, "more than what the dying body was answering"
        page = httpx.get(bench.url, trust_env=False).text
        assert "What was saved does not run" in page
        assert run_git(program, "branch", "--show-current") == "main\n"
    listed = command(program, "patch", "list", home=tmp_path / "home").stdout
    assert "undone" in listed


def test_a_bad_patch_that_waits_for_the_next_start_is_taken_back_there(
    program: Path, apply: Callable[[str], None], tmp_path: Path
) -> None:
    """# K4: applied from the shell while nothing ran; nobody has to know git to get back."""
    before = tree(program)
    apply(patch("raise RuntimeError('boom')"))
    with Running(program, tmp_path / "home") as bench:
        assert tree(program) == before
        assert "The source is at" in bench.words()
        wait_until(lambda: "boom" in httpx.get(bench.url, trust_env=False).text, "the reason")


def test_a_kill_of_everything_in_the_first_minute_comes_back(
    program: Path, apply: Callable[[str], None], tmp_path: Path
) -> None:
    """# F9, J10: the lock goes with its holder."""
    with Running(program, tmp_path / "home") as bench:
        first = bench.body()
        apply(patch("x = 1"))
        wait_until(lambda: bench.body() != first, "the new body")
        last = bench.body()
        bench.process.kill()
        for pid in (first, last):
            os.kill(pid, signal.SIGKILL)
    with Running(program, tmp_path / "home") as again:
        assert again.answers()
        assert command(program, "patch", "undo", home=tmp_path / "home").returncode == 0
    assert run_git(program, "fsck", "--no-dangling") == ""
