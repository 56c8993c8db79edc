"""A repository's own tests with an edit in place; the person's repository is only read. # J7 J10"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from patches import Branch, preview, run_trial, trial
from repo import Repo
from shapes import Note
from tests.conftest import run_git
from tests.running import wait_until
from tests.test_patches_apply import everything

Make = Callable[..., Path]
EDIT = "--- a/shop/money.py\n+++ b/shop/money.py\n@@\n-RATE = 3\n+RATE = 4\n"
FILES = {
    "shop/__init__.py": "",
    "shop/money.py": "RATE = 3\n",
    "tests/test_a.py": "def test_one():\n    pass\n\n\ndef test_two():\n    pass\n",
    "tests/test_money.py": "import shop.money as m\n\ndef test_rate():\n    assert m.RATE == 4\n",
    "tests/test_z.py": "def test_late():\n    pass\n",
}


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where clones are made; empty again after every test."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    yield folder
    assert list(folder.iterdir()) == []


def run(root: Path, diff: str = EDIT) -> tuple[list[str], Note]:
    """The lines, and the Note that ends them."""

    async def collect() -> list[str | Note]:
        verdict = preview(Repo(root), diff)
        return [each async for each in run_trial("tests", Branch(Repo(root)), verdict)]

    *lines, note = asyncio.run(collect())
    assert all(isinstance(line, str) for line in lines)
    assert isinstance(note, Note) and note.check == "tests"
    return lines, note


def test_the_tests_run_with_the_edit_in_place_the_touched_first(git_repo: Make) -> None:
    """# J7"""
    touched = (
        "--- a/tests/test_z.py\n+++ b/tests/test_z.py\n@@\n-def test_late():\n+def test_new():\n"
    )
    lines, note = run(git_repo(FILES), EDIT + touched)
    assert note.ok and note.text.startswith("4 passed")
    shown = [line.split()[0] for line in lines if line.startswith("tests/")]
    assert shown == ["tests/test_money.py", "tests/test_z.py", "tests/test_a.py"]


def test_a_failure_is_named_and_shown_whatever_the_settings(git_repo: Make) -> None:
    settings = {"pyproject.toml": '[tool.pytest.ini_options]\naddopts = "-qq --color=yes"\n'}
    lines, note = run(git_repo(FILES | settings), EDIT.replace("= 4", "= 5"))
    assert not note.ok and note.text.startswith("1 failed, 3 passed")
    assert "FAILED tests/test_money.py::test_rate" in note.text
    assert "E   assert 5 == 4" in lines


def test_a_refused_edit_runs_nothing(git_repo: Make) -> None:
    lines, note = run(git_repo(FILES), "no edit")
    assert lines == [] and not note.ok and "refused" in note.text


MEDDLER = """
import pathlib, subprocess

def test_meddling():
    for command in ("checkout -qb mine", "add -A", "stash", "tag t", "config a.b c", "gc -q"):
        subprocess.run(["git", *command.split()], check=True)
    pathlib.Path("shop/money.py").write_text("gone")
    pathlib.Path("tests/test_a.py").unlink()
"""


def test_nothing_of_the_persons_changes_whatever_the_tests_do(git_repo: Make) -> None:
    """# J7, J10: HEAD, index, branches, configuration and files stay, dirty work included."""
    root = git_repo(FILES | {"tests/test_meddler.py": MEDDLER})
    (root / "tests/test_z.py").write_text("dirty = 1\n")
    (root / "untracked.txt").write_text("mine\n")
    run_git(root, "add", "untracked.txt")
    before = everything(root), (root / ".git/config").read_bytes()
    _, note = run(root)
    assert note.ok and note.text.startswith("5 passed")
    assert (everything(root), (root / ".git/config").read_bytes()) == before


def test_neither_hooks_nor_filters_of_the_repository_run(git_repo: Make) -> None:
    root = git_repo(FILES | {".gitattributes": "*.py filter=evil\n"})
    mark = root.parent / "ran"
    for kind in ("smudge", "clean", "process"):
        run_git(root, "config", f"filter.evil.{kind}", f"touch {mark}; cat")
    hook = root / ".git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    clone = root.parent / "scratch/clone"
    money = Repo(root).text("shop/money.py")
    verdict = preview(Repo(root), EDIT)
    mark.unlink(missing_ok=True)
    trial._clone(Repo(root), verdict, clone)
    assert not mark.exists() and money and Repo(clone).text("shop/money.py") != money
    shutil.rmtree(clone)


def test_a_linked_worktree_and_ignored_environments_can_be_tried(git_repo: Make) -> None:
    files = {".gitignore": "node_modules\n", "tests/test_env.py": "import pathlib\n\n\n"}
    files["tests/test_env.py"] += (
        "def test_env():\n    assert pathlib.Path('node_modules/x.js').exists()\n"
    )
    root = git_repo(FILES | files)
    side = root.parent / "side"
    run_git(root, "worktree", "add", "-q", "-b", "side", str(side))
    (side / "node_modules").mkdir()
    (side / "node_modules/x.js").write_text("x\n")
    assert run(side)[1].text.startswith("5 passed")
    assert (side / "node_modules/x.js").read_text() == "x\n"


STUCK = """
import os, pathlib, subprocess, time

def test_stuck():
    child = subprocess.Popen(["sleep", "600"])
    place = pathlib.Path({place!r})
    place.with_suffix(".new").write_text(f"{{os.getpid()}} {{child.pid}}")
    place.with_suffix(".new").rename(place)
    time.sleep(600)
"""


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    return False


@pytest.mark.parametrize("how", ["close", "cancel"])
def test_stopping_ends_the_tests_and_what_they_started(
    git_repo: Make, tmp_path: Path, scratch: Path, how: str
) -> None:
    place = tmp_path / "pids"
    root = git_repo(FILES | {"tests/test_stuck.py": STUCK.format(place=str(place))})
    before = everything(root)
    verdict = preview(Repo(root), EDIT)

    async def stop() -> None:
        async def read() -> None:
            async with aclosing(run_trial("tests", Branch(Repo(root)), verdict)) as lines:
                async for line in lines:
                    if how == "close" and "test_a.py" in str(line):
                        await asyncio.to_thread(wait_until, place.exists)
                        return

        reading = asyncio.create_task(read())
        if how == "cancel":
            await asyncio.to_thread(wait_until, place.exists)
            reading.cancel()
        await asyncio.wait({reading})
        assert reading.cancelled() == (how == "cancel")

    asyncio.run(stop())
    pids = [int(pid) for pid in place.read_text().split()]
    wait_until(lambda: not any(map(alive, pids)), "the tests to end", 5)
    assert list(scratch.iterdir()) == [] and everything(root) == before


def test_a_long_line_and_broken_bytes_are_only_lines(git_repo: Make) -> None:
    loud = "import os\n\n\ndef test_loud(capfd):\n    with capfd.disabled():\n"
    loud += "        os.write(1, b'x' * 300_000 + b'\\xff\\n')\n"
    lines, note = run(git_repo(FILES | {"tests/test_loud.py": loud}))
    assert note.ok and max(map(len, lines)) > 300_000


def test_a_place_where_nothing_can_be_cloned_is_told(tmp_path: Path, git_repo: Make) -> None:
    run_git(tmp_path, "init", "-q", "empty")
    verdict = preview(Repo(git_repo(FILES)), EDIT)

    async def collect() -> list[str | Note]:
        return [
            each async for each in run_trial("tests", Branch(Repo(tmp_path / "empty")), verdict)
        ]

    (note,) = asyncio.run(collect())
    assert not note.ok and "no commit yet" in note.text
