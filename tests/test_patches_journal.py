"""A step that is cut short by a kill is finished or taken back, whatever it left. # J10"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patches import Branch, preview
from patches.journal import Journal
from repo import Repo
from tests.conftest import run_git
from tests.test_patches_apply import ALL, FILES, branch, everything, refs, standing, tree

ROOT = Path(__file__).resolve().parent.parent
ACT = """
import sys
from pathlib import Path
from patches import Branch, preview
from repo import Repo

repo = Repo(Path(sys.argv[1]))
what, *rest = sys.argv[2:]
if what == "apply":
    Branch(repo).apply(preview(repo, rest[0]), "one")
else:
    getattr(Branch(repo), what)()
"""
SHIM = """#!{python}
import os, signal, subprocess, sys
here = "{word}" in " ".join(sys.argv)
if here and "{moment}" == "before":
    os.killpg(0, signal.SIGKILL)
code = subprocess.call(["{git}", *sys.argv[1:]])
if here:
    os.killpg(0, signal.SIGKILL)
sys.exit(code)
"""


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")


@pytest.fixture
def root(git_repo: Callable[..., Path]) -> Path:
    root = git_repo(FILES)
    (root / "run.sh").chmod(0o755)
    run_git(root, "commit", "-qam", "executable")
    (root / "mine.txt").write_text("untracked\n")
    (root / "run.sh").write_text("dirty\n")
    return root


def locks(root: Path) -> list[str]:
    found = {str(path.relative_to(root)) for path in (root / ".git").rglob("*.lock")}
    return sorted(found - {".git/workbench.lock"})


def sound(root: Path) -> None:
    """Nothing is in the way of the person's own git."""
    assert locks(root) == [] and not (root / ".git/workbench.journal").exists()
    assert run_git(root, "fsck", "--full", "--no-dangling") == ""
    assert (root / "run.sh").read_text() == "dirty\n"
    assert run_git(root, "status", "--porcelain").split() == "M run.sh ?? mine.txt".split()


@pytest.mark.parametrize("word", ["checkout -q", "update-ref --stdin", "symbolic-ref HEAD"])
@pytest.mark.parametrize(
    ("what", "moment"),
    [("apply", "before"), ("apply", "after"), ("undo", "after"), ("keep", "after")],
)
def test_a_kill_beside_each_git_command_leaves_before_or_after(
    root: Path, tmp_path: Path, what: str, word: str, moment: str
) -> None:
    if what != "apply":
        Branch(Repo(root)).apply(preview(Repo(root), ALL), "one")
    before = standing(root), refs(root), branch(root)
    shim = tmp_path / "bin/git"
    shim.parent.mkdir()
    text = SHIM.format(python=sys.executable, git=shutil.which("git"), word=word, moment=moment)
    shim.write_text(text)
    shim.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", ACT, str(root), what, ALL],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{shim.parent}:{os.environ['PATH']}"},
        start_new_session=True,
    )
    assert done.returncode == -9
    mended = Branch(Repo(root)).mend()
    assert mended == run_git(root, "rev-parse", "HEAD").strip()
    sound(root)
    if word == "checkout -q":
        assert (standing(root), refs(root), branch(root)) == before
    else:
        assert branch(root) == ("workbench/one" if what == "apply" else "main")
        assert ("workbench" in refs(root)) == (what != "keep")
    if what == "apply" and word != "checkout -q":
        assert (root / "c.py").exists()
        Branch(Repo(root)).undo()
    elif what == "undo" and word != "checkout -q":
        Branch(Repo(root)).redo()
    sound(root)
    assert Branch(Repo(root)).mend() == ""


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_half_done_checkout_is_taken_back_or_finished(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Files old, new, cut off or missing; index, HEAD and refs old or new; locks left."""
    root = tmp_path_factory.mktemp("half")
    for path, text in FILES.items():
        (root / path).write_text(text)
    run_git(root, "init", "-q")
    run_git(root, "add", ".")
    run_git(root, "commit", "-qm", "first")
    (root / "run.sh").write_text("dirty\n")
    (root / "mine.txt").write_text("untracked\n")
    old = standing(root)[:2], branch(root)
    files = tree(root)
    done = Branch(Repo(root)).apply(preview(Repo(root), ALL), "one")
    new = standing(root)[:2], branch(root)
    after = tree(root)
    goal = data.draw(st.sampled_from([0, 1]))
    pair = ("", done.commit)
    move = {
        "commits": [done.base, done.commit],
        "branches": ["main", "workbench/one"],
        "refs": {"refs/heads/workbench/one": pair, "refs/workbench/redo": ["", ""]},
        "goal": goal,
    }
    run_git(root, "update-ref", "--no-deref", "HEAD", done.commit)
    run_git(root, "checkout", "-q", "--detach")
    if not goal:
        run_git(root, "branch", "-qD", "workbench/one")
        if data.draw(st.booleans()):  # before git moved the index, and then HEAD
            if data.draw(st.booleans()):
                run_git(root, "read-tree", "-i", "-m", done.commit, done.base)
            run_git(root, "symbolic-ref", "HEAD", "refs/heads/main")
    elif data.draw(st.booleans()):
        run_git(root, "symbolic-ref", "HEAD", "refs/heads/workbench/one")
    for path in files.keys() | after.keys():
        ends = [end.get(path, (0, b""))[1] for end in (files, after)]
        if ends[0] == ends[1]:
            continue
        end = data.draw(st.sampled_from(ends))
        cut = end[: data.draw(st.integers(0, len(end)))]
        place = root / path
        place.unlink(missing_ok=True)
        place.parent.mkdir(exist_ok=True)
        if what := data.draw(st.sampled_from([cut, end, b""])):
            place.write_bytes(what)
    (root / ".git/workbench.journal").write_text(json.dumps(move))
    if data.draw(st.booleans()):
        (root / ".git/index.lock").touch()
        (root / ".git/refs/heads/main.lock").touch()
        (root / ".git/refs/heads/workbench").mkdir(exist_ok=True)
        (root / ".git/refs/heads/workbench/one.lock").touch()
        (root / ".git/refs/heads/main.lock").unlink()
    assert Branch(Repo(root)).mend() == [done.base, done.commit][goal]
    assert (standing(root)[:2], branch(root)) == (new if goal else old)
    sound(root)


def test_what_the_person_did_since_the_kill_stays(root: Path) -> None:
    """A file of theirs is left alone; and when HEAD has moved on, everything is."""
    done = Branch(Repo(root)).apply(preview(Repo(root), ALL), "one")
    Branch(Repo(root)).undo()
    journal = root / ".git/workbench.journal"
    move = {
        "commits": [done.base, done.commit],
        "branches": ["main", "workbench/one"],
        "refs": {},
        "goal": 0,
    }
    journal.write_text(json.dumps(move))
    (root / "a.py").write_text("typed since\n")
    (root / "old.txt").unlink()
    assert Branch(Repo(root)).mend() == done.base
    assert (root / "a.py").read_text() == "typed since\n" and (root / "old.txt").exists()
    run_git(root, "commit", "-qam", "mine")
    journal.write_text(json.dumps(move))
    (root / "old.txt").unlink()
    before = everything(root)
    assert Branch(Repo(root)).mend() == ""
    assert everything(root) == before and not journal.exists()


def test_a_lock_that_is_older_than_the_step_is_somebody_elses(root: Path) -> None:
    done = Branch(Repo(root)).apply(preview(Repo(root), ALL), "one")
    lock = root / ".git/index.lock"
    lock.touch()
    os.utime(lock, (time.time() - 60,) * 2)
    move = {"commits": [done.base, done.commit], "branches": ["main", "workbench/one"]}
    (root / ".git/workbench.journal").write_text(json.dumps(move | {"refs": {}, "goal": 1}))
    with pytest.raises(Exception, match=r"index\.lock"):
        Branch(Repo(root)).mend()
    assert lock.exists()
    lock.unlink()
    assert Branch(Repo(root)).mend() == done.commit


def test_a_git_that_outlives_its_killed_caller_keeps_the_lock(root: Path, tmp_path: Path) -> None:
    """Nobody mends what is still being written."""
    shim, fifo = tmp_path / "bin/git", tmp_path / "fifo"
    os.mkfifo(fifo)
    shim.parent.mkdir()
    git = shutil.which("git")
    shim.write_text(
        f'#!/bin/sh\ncase "$*" in *checkout*) kill -9 $PPID; read x < {fifo};; esac\n'
        f'exec {git} "$@"\n'
    )
    shim.chmod(0o755)
    env = os.environ | {"PATH": f"{shim.parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-c", ACT, str(root), "apply", ALL]
    assert subprocess.run(command, cwd=ROOT, env=env).returncode == -9
    waiting = subprocess.Popen(
        [sys.executable, "-c", "import sys\n" + ACT, str(root), "mend"], cwd=ROOT
    )
    with fifo.open("w") as gate:  # opens when git reads
        assert waiting.poll() is None
        gate.write("go\n")
    assert waiting.wait(20) == 0
    with Journal.hold(Repo(root)):
        sound(root)
    assert branch(root) == "main"
