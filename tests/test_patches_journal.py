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
from shapes import WorkbenchError
from tests.conftest import run_git
from tests.test_patches_apply import ALL, FILES, branch, everything, refs, refused, standing, tree

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


@pytest.mark.parametrize(
    "word", ["update-ref --stdin", "read-tree -i", "checkout-index", "symbolic-ref HEAD"]
)
@pytest.mark.parametrize(
    ("what", "moment"),
    [("apply", "before"), ("apply", "after"), ("undo", "after"), ("keep", "after")],
)
def test_a_kill_beside_each_git_command_leaves_before_or_after(
    root: Path, tmp_path: Path, what: str, word: str, moment: str
) -> None:
    if what != "apply":
        Branch(Repo(root)).apply(preview(Repo(root), ALL), "one")
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
    assert branch(root) == ("workbench/one" if what == "apply" else "main")
    assert ("workbench" in refs(root)) == (what != "keep")
    assert (root / "c.py").exists() == (what != "undo")
    if what == "apply":
        Branch(Repo(root)).undo()
    elif what == "undo":
        Branch(Repo(root)).redo()
    sound(root)
    assert Branch(Repo(root)).mend() == ""


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_half_done_step_is_finished(
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
    files = tree(root)
    done = Branch(Repo(root)).apply(preview(Repo(root), ALL), "one")
    new = standing(root)[:2], branch(root)
    after = tree(root)
    pair = ("", done.commit)
    refs_of = {"refs/heads/workbench/one": pair, "refs/workbench/redo": ["", ""]}
    move = [[done.base, done.commit], "workbench/one", refs_of]
    if data.draw(st.booleans()):  # before HEAD, the index, and the refs
        run_git(root, "symbolic-ref", "HEAD", "refs/heads/main")
        if data.draw(st.booleans()):
            run_git(root, "read-tree", "-i", "-m", done.commit, done.base)
            if data.draw(st.booleans()):
                run_git(root, "branch", "-qD", "workbench/one")
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
        (root / ".git/refs/heads/workbench").mkdir(exist_ok=True)
        (root / ".git/refs/heads/workbench/one.lock").touch()
    assert Branch(Repo(root)).mend() == done.commit
    assert (standing(root)[:2], branch(root)) == new
    sound(root)


def test_what_the_person_did_since_the_kill_stays(root: Path) -> None:
    """A file of theirs is left alone; and when HEAD has moved on, everything is."""
    done = Branch(Repo(root)).apply(preview(Repo(root), ALL), "one")
    Branch(Repo(root)).undo()
    run_git(root, "update-ref", "-d", "refs/workbench/redo")
    journal = root / ".git/workbench.journal"
    ref = {"refs/heads/workbench/one": ["", done.commit]}
    journal.write_text(json.dumps([[done.base, done.commit], "workbench/one", ref]))
    (root / "a.py").write_text("typed since\n")
    (root / "old.txt").unlink()
    assert Branch(Repo(root)).mend() == done.commit
    assert (root / "a.py").read_text() == "typed since\n" and (root / "c.py").exists()
    run_git(root, "commit", "-qam", "mine")
    journal.write_text(json.dumps([[done.base, done.commit], "workbench/one", ref]))
    (root / "c.py").unlink()
    before = everything(root)
    assert Branch(Repo(root)).mend() == ""
    assert everything(root) == before and not journal.exists()


def test_a_step_that_git_refuses_after_a_kill_is_given_up(root: Path) -> None:
    """A branch `workbench` leaves no room for `workbench/one`."""
    done = Branch(Repo(root)).apply(preview(Repo(root), ALL), "one")
    Branch(Repo(root)).undo()
    run_git(root, "branch", "workbench")
    ref = {"refs/heads/workbench/one": ["", done.commit]}
    journal = root / ".git/workbench.journal"
    journal.write_text(json.dumps([[done.base, done.commit], "workbench/one", ref]))
    before = everything(root)
    with pytest.raises(WorkbenchError, match="workbench"):
        Branch(Repo(root)).mend()
    assert everything(root) == before and Branch(Repo(root)).mend() == ""


def test_a_lock_that_is_older_than_the_step_is_somebody_elses(root: Path) -> None:
    done = Branch(Repo(root)).apply(preview(Repo(root), ALL), "one")
    lock = root / ".git/index.lock"
    lock.touch()
    os.utime(lock, (time.time() - 60,) * 2)
    step = [[done.base, done.commit], "workbench/one", {}]
    (root / ".git/workbench.journal").write_text(json.dumps(step))
    with pytest.raises(WorkbenchError, match=r"index\.lock"):
        Branch(Repo(root)).mend()
    assert lock.exists()
    lock.unlink()
    assert Branch(Repo(root)).mend() == done.commit


def test_while_another_git_holds_the_index_nothing_begins(root: Path) -> None:
    verdict = preview(Repo(root), ALL)
    (root / ".git/index.lock").touch()
    assert "Another git" in refused(root, lambda: Branch(Repo(root)).apply(verdict))


@pytest.mark.parametrize("place", ["n", "n/new.py/x", "c.py"])
@pytest.mark.parametrize("data", [b"mine", b"\0", b""])
def test_whatever_stands_where_a_file_would_be_made_refuses(
    root: Path, place: str, data: bytes
) -> None:
    """A file for a folder, a folder for a file, binary, empty, ignored, or a link."""
    verdict = preview(Repo(root), ALL)
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_bytes(data)
    (root / ".git/info/exclude").write_text("n\nc.py\n")
    assert "in the way" in refused(root, lambda: Branch(Repo(root)).apply(verdict))
    (root / place).unlink()
    (root / place).symlink_to(root / "mine.txt")
    refused(root, lambda: Branch(Repo(root)).apply(verdict))


def test_a_git_that_outlives_its_killed_caller_keeps_the_lock(root: Path, tmp_path: Path) -> None:
    """Nobody mends what is still being written."""
    shim, fifo = tmp_path / "bin/git", tmp_path / "fifo"
    os.mkfifo(fifo)
    shim.parent.mkdir()
    git = shutil.which("git")
    shim.write_text(
        f'#!/bin/sh\ncase "$*" in *checkout-index*) kill -9 $PPID; read x < {fifo};; esac\n'
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
    assert branch(root) == "workbench/one"
