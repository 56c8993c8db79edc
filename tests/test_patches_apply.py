"""Applying, taking back, bringing again, keeping, with the person's work around. # J10 J12"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patches import Branch, preview
from repo import Repo
from shapes import Provenance, WorkbenchError
from tests.conftest import run_git

Make = Callable[..., Path]
FILES = {"a.py": "x = 1\ny = 2\n", "b.py": "z = 3\n", "run.sh": "echo\n", "old.txt": "old\n"}
EDIT = "--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,2 @@\n-x = 1\n+x = 5\n y = 2\n"
MORE = "--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,3 @@\n x = 5\n y = 2\n+w = 3\n"
NEW = "--- /dev/null\n+++ b/n/new.py\n@@ -0,0 +1 @@\n+n = 1\n"
GONE = "--- a/old.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n"
MOVED = "diff --git a/b.py b/c.py\nrename from b.py\nrename to c.py\n"
ALL = EDIT + NEW + GONE + MOVED
Person = tuple[str, ...]


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")


@pytest.fixture
def root(git_repo: Make) -> Path:
    root = git_repo(FILES)
    (root / "run.sh").chmod(0o755)
    run_git(root, "commit", "-qam", "executable")
    run_git(root, "config", "user.name", "Ada")
    run_git(root, "config", "user.email", "ada@example.invalid")
    return root


def apply(root: Path, diff: str = EDIT, title: str = "", who: Provenance | None = None) -> str:
    verdict = preview(Repo(root), diff)
    assert verdict.ok, verdict.reason
    return Branch(Repo(root)).apply(verdict, title, who).branch


def refused(root: Path, act: Callable[[], object]) -> str:
    """The refusal; and nothing at all was changed by it."""
    before = everything(root)
    with pytest.raises(WorkbenchError) as error:
        act()
    assert everything(root) == before
    return str(error.value)


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in root.rglob("*") if ".git" not in path.relative_to(root).parts)
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes())
        for path in files
        if path.is_file()
    }


def standing(root: Path) -> tuple[object, ...]:
    """Bytes and modes, index, status: what an undo gives back."""
    index = run_git(root, "ls-files", "--stage")
    return tree(root), index, run_git(root, "status", "--porcelain", "--ignored")


def refs(root: Path) -> str:
    return run_git(root, "for-each-ref", "--format=%(refname) %(objectname)")


def everything(root: Path) -> tuple[object, ...]:
    worktrees = run_git(root, "worktree", "list")
    head = (root / ".git/HEAD").read_text()
    return (*standing(root), refs(root), run_git(root, "stash", "list"), worktrees, head)


def branch(root: Path) -> str:
    return run_git(root, "branch", "--show-current").strip()


def test_apply_commits_on_a_branch_of_its_own(root: Path) -> None:
    """# J10"""
    main = run_git(root, "rev-parse", "main")
    assert apply(root, ALL, "Make x  five!\nand more") == "workbench/make-x-five-and-more"
    assert run_git(root, "rev-parse", "main", "HEAD^") == main * 2
    assert run_git(root, "log", "-1", "--format=%s|%an") == "Make x five! and more|Ada\n"
    shown = run_git(root, "show", "--format=", "--name-status", "--no-renames", "HEAD").split()
    assert shown == "M a.py D b.py A c.py A n/new.py D old.txt".split()
    assert run_git(root, "status", "--porcelain") == ""
    assert (root / "a.py").read_text() == "x = 5\ny = 2\n"
    assert not (root / "old.txt").exists() and (root / "n/new.py").read_text() == "n = 1\n"


def test_undo_leaves_nothing_behind(root: Path) -> None:
    """# J10"""
    before, main_refs = standing(root), refs(root)
    apply(root, ALL)
    Branch(Repo(root)).undo()
    assert standing(root) == before and branch(root) == "main"
    assert run_git(root, "status", "--porcelain") == run_git(root, "diff", "HEAD") == ""
    assert [r for r in refs(root).splitlines() if "redo" not in r] == main_refs.splitlines()


PIECES = st.sampled_from(
    [
        "dirty",
        "staged",
        "both",
        "untracked",
        "removed",
        "unstaged-mode",
        "intent",
        "empty",
        "ignored",
    ]
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sets(PIECES), st.lists(st.sampled_from([EDIT, NEW, GONE, MOVED]), min_size=1, unique=True)
)
def test_apply_then_undo_is_the_identity_with_any_work_around(
    tmp_path_factory: pytest.TempPathFactory, work: set[str], diffs: list[str]
) -> None:
    """# J10"""
    root = tmp_path_factory.mktemp("work")
    mine = {
        "dirty": "1\n",
        "staged": "1\n",
        "both": "1\n",
        "removed": "1\n",
        "unstaged-mode": "1\n",
    }
    for path, text in (FILES | mine | {".gitignore": "ignored\n"}).items():
        (root / path).write_text(text)
    run_git(root, "init", "-q")
    run_git(root, "add", ".")
    run_git(root, "commit", "-qm", "first")
    for name in work:
        place = root / name
        if name == "removed":
            place.unlink()
        elif name == "unstaged-mode":
            place.chmod(0o755)
        else:
            place.write_text("mine\n" if name != "empty" else "")
        if name in ("staged", "both"):
            run_git(root, "add", name)
        if name == "both":
            place.write_text("mine again\n")
        if name == "intent":
            run_git(root, "add", "-N", name)
    before = standing(root)
    for diff in diffs:
        apply(root, diff)
    after = tree(root)
    assert {name: after[name] for name in work & set(after)} == {
        name: before[0][name] for name in work & set(before[0])
    }
    Branch(Repo(root)).undo(len(diffs))
    assert standing(root) == before and branch(root) == "main"
    for _ in diffs:
        Branch(Repo(root)).redo()
    assert tree(root) == after


@pytest.mark.parametrize("stage", [False, True])
@pytest.mark.parametrize("name", ["a.py", "n/new.py", "old.txt", "b.py", "c.py"])
def test_uncommitted_work_in_a_touched_file_refuses_with_its_name(
    root: Path, name: str, stage: bool
) -> None:
    """# J10"""
    verdict = preview(Repo(root), ALL)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("mine\n")
    if stage:
        run_git(root, "add", name)
    told = refused(root, lambda: Branch(Repo(root)).apply(verdict))
    assert told.startswith(name) and "there is uncommitted work in the way." in told


def test_a_file_that_changed_since_the_check_is_refused(root: Path) -> None:
    verdict = preview(Repo(root), EDIT)
    (root / "a.py").write_text("x = 1\ny = 7\n")
    run_git(root, "commit", "-qam", "meanwhile")
    told = refused(root, lambda: Branch(Repo(root)).apply(verdict))
    assert told.startswith("a.py (or it has changed")


def test_a_new_file_that_was_committed_meanwhile_is_not_overwritten(root: Path) -> None:
    verdict = preview(Repo(root), NEW)
    (root / "n").mkdir()
    (root / "n/new.py").write_text("mine\n")
    run_git(root, "add", ".")
    run_git(root, "commit", "-qm", "meanwhile")
    told = refused(root, lambda: Branch(Repo(root)).apply(verdict))
    assert told.startswith("n/new.py (or it has changed")


def test_a_refused_verdict_is_not_applied(root: Path) -> None:
    verdict = preview(Repo(root), "nothing")
    assert "refused" in refused(root, lambda: Branch(Repo(root)).apply(verdict))


def test_undo_refuses_where_the_person_changed_the_file_since(root: Path) -> None:
    apply(root, ALL)
    (root / "a.py").write_text("mine\n")
    told = refused(root, Branch(Repo(root)).undo)
    assert told.startswith("a.py: there is uncommitted work")
    run_git(root, "checkout", "a.py")
    (root / "old.txt").write_text("mine\n")
    assert refused(root, Branch(Repo(root)).undo).startswith("old.txt: ")


def test_a_branch_name_that_cannot_be_made_leaves_all_as_it_was(root: Path) -> None:
    run_git(root, "branch", "workbench")
    verdict = preview(Repo(root), ALL)
    assert "workbench" in refused(root, lambda: Branch(Repo(root)).apply(verdict))


def test_no_hook_runs(root: Path) -> None:
    for name in (
        "pre-commit",
        "commit-msg",
        "post-checkout",
        "post-commit",
        "reference-transaction",
    ):
        hook = root / ".git/hooks" / name
        hook.write_text("#!/bin/sh\ntouch ran\nexit 1\n")
        hook.chmod(0o755)
    apply(root)
    Branch(Repo(root)).undo()
    assert not (root / "ran").exists()


def test_no_identity_and_a_wish_for_signatures_are_no_obstacle(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("user.name", "user.email"):
        run_git(root, "config", "--unset", key)
    run_git(root, "config", "user.useConfigOnly", "true")
    run_git(root, "config", "commit.gpgSign", "true")
    run_git(root, "config", "gpg.program", "/bin/false")
    apply(root)
    assert run_git(root, "log", "-1", "--format=%an %ce") == "Workbench workbench@localhost\n"


def test_an_unborn_branch_is_told(tmp_path: Path, root: Path) -> None:
    verdict = preview(Repo(root), NEW)
    run_git(tmp_path, "init", "-q", "empty")
    with pytest.raises(WorkbenchError, match="no commit yet"):
        Branch(Repo(tmp_path / "empty")).apply(verdict)
    assert Branch(Repo(tmp_path / "empty")).changes() == []


@pytest.mark.parametrize(
    ("command", "words"),
    [("checkout -q --detach", "detached HEAD"), ("merge -q other", "under way")],
)
def test_where_no_change_can_begin_all_is_refused(root: Path, command: str, words: str) -> None:
    run_git(root, "checkout", "-qb", "other")
    (root / "run.sh").write_text("one\n")
    run_git(root, "commit", "-qam", "one")
    run_git(root, "checkout", "-q", "main")
    (root / "run.sh").write_text("two\n")
    run_git(root, "commit", "-qam", "two")
    verdict = preview(Repo(root), EDIT)
    subprocess.run(["git", *command.split()], cwd=root, capture_output=True, check=False)
    ours = Branch(Repo(root))
    for act in (lambda: ours.apply(verdict), ours.undo, ours.redo, ours.keep):
        assert words in refused(root, act)


def test_the_next_change_goes_on_top(root: Path) -> None:
    first = apply(root)
    assert apply(root, MORE, "another") == first
    assert run_git(root, "rev-list", "--count", "main..HEAD") == "2\n"
    ours = Branch(Repo(root))
    ours.undo()
    assert (root / "a.py").read_text() == "x = 5\ny = 2\n" and branch(root) == first
    ours.undo()
    assert branch(root) == "main" and first not in refs(root)
    assert ours.redo().branch == first and ours.redo().branch == first
    assert (root / "a.py").read_text() == "x = 5\ny = 2\nw = 3\n"
    assert "nothing to redo" in refused(root, ours.redo)
    ours.undo(2)
    assert branch(root) == "main" and (root / "a.py").read_text() == FILES["a.py"]
    assert "nothing to undo" in refused(root, ours.undo)
    assert "nothing to redo" in refused(root, lambda: ours.redo(3))
    assert ours.redo(2).branch == first and (root / "a.py").read_text() == "x = 5\ny = 2\nw = 3\n"
    newest = run_git(root, "rev-parse", "HEAD", "HEAD^", "main").split()
    assert [ours.go(commit).commit for commit in newest[1:]] == newest[1:]
    assert branch(root) == "main" and ours.go(newest[0]).commit == newest[0]
    assert [each.state for each in ours.changes()] == ["applied", "applied"]
    ours.keep()
    assert [each.state for each in ours.changes()] == ["kept", "kept"]
    assert "nothing to undo" in refused(root, lambda: ours.go(newest[1]))


def test_what_has_proved_itself_is_come_back_to(root: Path) -> None:
    """# K4: else what is the person's own; and a mark that is on no road of ours is no way."""
    ours, main = Branch(Repo(root)), run_git(root, "rev-parse", "main").strip()
    assert ours.rescue() == ""
    apply(root)
    assert main in ours.rescue() and branch(root) == "main"
    ours.redo()
    ours.confirm()
    good = run_git(root, "rev-parse", "HEAD").strip()
    apply(root, MORE)
    assert good in ours.rescue() and ours.rescue() == ""
    apply(root, NEW)
    (root / "n/new.py").write_text("mine\n")
    assert "n/new.py" in refused(root, ours.rescue)
    run_git(root, "checkout", "-q", "n/new.py")
    run_git(root, "checkout", "-q", "main")
    assert "nothing to undo" in refused(root, ours.rescue)


def test_more_steps_than_there_are_undo_nothing(root: Path) -> None:
    apply(root)
    Branch(Repo(root)).keep()
    apply(root, MORE)
    assert "nothing to undo" in refused(root, lambda: Branch(Repo(root)).undo(2))


def test_a_commit_of_the_persons_is_never_undone(root: Path) -> None:
    apply(root)
    (root / "run.sh").write_text("mine\n")
    run_git(root, "commit", "-qam", "mine")
    assert "nothing to undo" in refused(root, Branch(Repo(root)).undo)
    run_git(root, "checkout", "-qb", "elsewhere", "HEAD^")
    assert "nothing to undo" in refused(root, Branch(Repo(root)).undo)


def test_a_new_change_ends_what_could_be_redone(root: Path) -> None:
    apply(root)
    Branch(Repo(root)).undo()
    apply(root, NEW)
    assert "nothing to redo" in refused(root, Branch(Repo(root)).redo)


def test_redo_happens_only_where_it_was_undone(root: Path) -> None:
    apply(root)
    Branch(Repo(root)).undo()
    run_git(root, "checkout", "-qb", "elsewhere")
    assert "nothing to redo" in refused(root, Branch(Repo(root)).redo)
    run_git(root, "commit", "-q", "--allow-empty", "-m", "on")
    assert "nothing to redo" in refused(root, Branch(Repo(root)).redo)


def test_undo_stays_on_the_branch_when_the_persons_has_moved_on(root: Path) -> None:
    name = apply(root)
    moved = run_git(root, "commit-tree", "main^{tree}", "-p", "main", "-m", "on").strip()
    run_git(root, "update-ref", "refs/heads/main", moved)
    assert Branch(Repo(root)).undo().branch == name == branch(root)
    assert run_git(root, "status", "--porcelain") == ""


def test_keep_moves_the_persons_branch_forward(root: Path) -> None:
    name = apply(root)
    (root / "run.sh").write_text("mine\n")
    kept = Branch(Repo(root)).keep()
    assert (kept.branch, branch(root)) == ("main", "main")
    assert run_git(root, "rev-parse", "HEAD").strip() == kept.commit and name not in refs(root)
    assert run_git(root, "status", "--porcelain") == " M run.sh\n"
    assert "nothing to keep" in refused(root, Branch(Repo(root)).keep)
    assert "nothing to undo" in refused(root, Branch(Repo(root)).undo)


def test_keep_refuses_when_the_persons_branch_has_moved_on(root: Path) -> None:
    apply(root)
    moved = run_git(root, "commit-tree", "main^{tree}", "-p", "main", "-m", "on").strip()
    run_git(root, "update-ref", "refs/heads/main", moved)
    assert "git switch main && git merge" in refused(root, Branch(Repo(root)).keep)


def test_remotes_and_stash_are_untouched(root: Path, tmp_path: Path) -> None:
    """# J10: nothing is ever pushed or fetched."""
    run_git(tmp_path, "clone", "-q", "--bare", str(root), "remote.git")
    run_git(root, "remote", "add", "origin", str(tmp_path / "remote.git"))
    run_git(root, "fetch", "-q", "origin")
    (root / "run.sh").write_text("mine\n")
    run_git(root, "stash", "-q")

    def outside() -> list[str]:
        rows = [*refs(root).splitlines(), *refs(tmp_path / "remote.git").splitlines()]
        return [row for row in rows if "workbench" not in row and "heads/main" not in row]

    before = outside(), run_git(root, "stash", "list"), refs(tmp_path / "remote.git")
    apply(root)
    Branch(Repo(root)).keep()
    apply(root, MORE)
    Branch(Repo(root)).undo()
    assert before == (outside(), run_git(root, "stash", "list"), refs(tmp_path / "remote.git"))


def test_modes_and_encodings_are_kept(git_repo: Make) -> None:
    root = git_repo({"run.sh": "echo\n", "l.txt": b"caf\xe9\nb\n", "d.txt": "a\r\nb\r\n"})
    (root / "run.sh").chmod(0o755)
    run_git(root, "commit", "-qam", "executable")
    diffs = [
        "--- a/run.sh\n+++ b/run.sh\n@@\n-echo\n+ls\n",
        "--- a/l.txt\n+++ b/l.txt\n@@\n caf\xe9\n-b\n+\xfc\n",
        "--- a/d.txt\n+++ b/d.txt\n@@\n a\n-b\n+B\n",
        "diff --git a/l.txt b/l.txt\nold mode 100644\nnew mode 100755\n",
    ]
    apply(root, "".join(diffs))
    assert os.access(root / "run.sh", os.X_OK) and os.access(root / "l.txt", os.X_OK)
    assert (root / "l.txt").read_bytes() == b"caf\xe9\n\xfc\n"
    assert (root / "d.txt").read_bytes() == b"a\r\nB\r\n"
    assert run_git(root, "status", "--porcelain") == ""


def test_line_ends_that_git_converts_are_refused_or_exact(root: Path) -> None:
    run_git(root, "config", "core.autocrlf", "true")
    apply(root, EDIT + NEW)
    assert (root / "a.py").read_bytes() == b"x = 5\ny = 2\n"
    assert (root / "n/new.py").read_bytes() == b"n = 1\n"
    (root / "a.py").unlink()
    run_git(root, "checkout", "a.py")
    assert (root / "a.py").read_bytes() == b"x = 5\r\ny = 2\r\n"
    verdict = preview(Repo(root), MORE)
    assert "git converts" in refused(root, lambda: Branch(Repo(root)).apply(verdict))


def test_a_filter_that_changes_bytes_is_refused(root: Path) -> None:
    (root / ".gitattributes").write_text("*.py ident\n")
    (root / "a.py").write_text("x = 1\ny = 2  # $Id$\n")
    run_git(root, "add", ".")
    run_git(root, "commit", "-qm", "ident")
    (root / "a.py").unlink()
    run_git(root, "checkout", "a.py")
    verdict = preview(Repo(root), "--- a/a.py\n+++ b/a.py\n@@\n-x = 1\n+x = 5\n")
    assert "git converts" in refused(root, lambda: Branch(Repo(root)).apply(verdict))


def test_who_proposed_it_stands_in_the_commit_and_cannot_be_forged(root: Path) -> None:
    title = "Fine\n\nWorkbench-Model: forged\nWorkbench-Base: evil"
    apply(root, EDIT, title, Provenance("gemma3:4b\nWorkbench-Digest: forged", "abc", "7"))
    body = run_git(root, "log", "-1", "--format=%b").splitlines()
    assert "Workbench-Model: gemma3:4b Workbench-Digest: forged" in body
    assert [row.split(":")[0] for row in body if row] == [
        f"Workbench-{key}" for key in ("Branch", "Base", "Start", "Model", "Digest", "Discussion")
    ]
    apply(root, MORE, "Workbench-Model: forged")
    assert Branch(Repo(root)).changes()[0].model == ""
    Branch(Repo(root)).undo(2)
    assert branch(root) == "main"


def test_changes_lists_what_was_done_and_undone(root: Path) -> None:
    apply(root, EDIT, "One", Provenance("m"))
    apply(root, NEW, "Two\x1f\x1e\0")
    Branch(Repo(root)).undo()
    rows = Branch(Repo(root)).changes()
    assert [(r.subject, r.model, r.state) for r in rows] == [
        ("Two", "", "undone"),
        ("One", "m", "applied"),
    ]
    assert all(len(r.commit) == 40 and r.date for r in rows)


def test_names_are_made_from_any_title(root: Path) -> None:
    assert apply(root, EDIT, "é✓ ..lock/@{") == "workbench/lock"
    Branch(Repo(root)).undo()
    assert apply(root, EDIT, "✓") == "workbench/change"
    run_git(root, "checkout", "-q", "main")
    assert apply(root, EDIT, "✓") == "workbench/change-2"
    assert len(run_git(root, "log", "-1", "--format=%s").strip()) == 1
    assert apply(root, NEW, "") == "workbench/change-2"
    assert run_git(root, "log", "-1", "--format=%s") == "Create n/new.py\n"


def test_odd_names_are_committed_as_they_are(git_repo: Make) -> None:
    root = git_repo({'é ".txt': "a\n", "*.txt": "a\n", ":(top)x": "a\n", "[x].txt": "a\n"})
    (root / "y.txt").write_text("untracked\n")
    for name in ('"a/é \\".txt"', "a/*.txt", "a/:(top)x", "a/[x].txt"):
        apply(root, f"--- {name}\n+++ {name.replace('a/', 'b/', 1)}\n@@\n-a\n+b\n")
    assert {path.read_text() for path in root.glob("*") if path.is_file()} == {"b\n", "untracked\n"}
    assert run_git(root, "status", "--porcelain") == "?? y.txt\n"


def test_a_repository_that_cannot_be_written_is_told(root: Path) -> None:
    (root / ".git/workbench.lock").mkdir()
    verdict = preview(Repo(root), EDIT)
    assert "cannot be written" in refused(root, lambda: Branch(Repo(root)).apply(verdict))


def test_a_linked_worktree_is_a_repository_like_any_other(root: Path, tmp_path: Path) -> None:
    run_git(root, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    before = standing(root)
    assert apply(tmp_path / "side").startswith("workbench/")
    assert Branch(Repo(tmp_path / "side")).undo().branch == "side"
    assert standing(root) == before


def test_a_file_that_git_ignores_is_never_overwritten_or_deleted(root: Path) -> None:
    """# J10: git takes ignored files for worthless."""
    verdict = preview(Repo(root), NEW.replace("n/new.py", "mine/new.py"))
    (root / ".git/info/exclude").write_text("mine*\n")
    (root / "mine").write_text("a file where a folder goes\n")
    assert refused(root, lambda: Branch(Repo(root)).apply(verdict)).startswith("mine/new.py: ")
    (root / "mine").unlink()
    Branch(Repo(root)).apply(verdict)
    Branch(Repo(root)).undo()
    (root / "mine").mkdir()
    (root / "mine/new.py").write_text("mine\n")
    assert refused(root, Branch(Repo(root)).redo).startswith("mine/new.py: ")
    (root / "mine/new.py").unlink()
    Branch(Repo(root)).redo()
    Branch(Repo(root)).undo()
    (root / "mine").symlink_to(root.parent)
    assert refused(root, Branch(Repo(root)).redo).startswith("mine/new.py: ")
    (root / "mine").unlink()
    Branch(Repo(root)).redo()
    run_git(root, "rm", "-q", "--cached", "mine/new.py")
    assert refused(root, Branch(Repo(root)).undo).startswith("mine/new.py")


def test_the_persons_branch_stays_where_another_worktree_has_it(root: Path, tmp_path: Path) -> None:
    apply(root)
    run_git(root, "worktree", "add", "-q", str(tmp_path / "side"), "main")
    assert "another worktree" in refused(root, Branch(Repo(root)).keep)
    assert run_git(tmp_path / "side", "status", "--porcelain") == ""
