"""The only writer of source: commits a verdict on a branch of its own, and takes it back.

Knows nothing of models or pages; every fact is git's own (commits, trailers, refs). Invariants:
the commit is made beside the person's index; the live tree moves only when nothing of theirs is in
the way; their branch, their uncommitted work and every remote stay as they were.
"""

import fcntl
import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from repo import Repo
from shapes import Applied, Change, Provenance, Verdict, WorkbenchError, plural

PREFIX = "workbench/"
REDO = "refs/workbench/redo"
TRAILER = re.compile(r"^Workbench-(\w+): (.*)$", re.M)
IDENTITY = {"NAME": "Workbench", "EMAIL": "workbench@localhost"}
CLASH = re.compile(r"^error: (?:Entry|Untracked working tree file) '(.+?)' ", re.M)
UNFINISHED = ("MERGE_HEAD", "rebase-merge", "rebase-apply", "CHERRY_PICK_HEAD", "REVERT_HEAD")
IN_THE_WAY = "there is uncommitted work in the way.", "Commit or stash it, then try again."
TITLE_CHARS = 72


@dataclass(frozen=True)
class Listed:
    """A change that was made here, for a list."""

    commit: str
    subject: str
    date: str
    model: str
    state: str  # "applied", or "undone" and still there for redo


@dataclass(frozen=True)
class Ground:
    """Where the tree stands. `base` and `start`, the person's branch and its commit then, are ""
    unless this is a branch of ours."""

    head: str
    branch: str
    base: str = ""
    start: str = ""


class Branch:
    """The applying half of patches, for one repository."""

    def __init__(self, repo: Repo) -> None:
        self.repo = repo

    def apply(
        self, verdict: Verdict, title: str = "", provenance: Provenance | None = None
    ) -> Applied:
        """Commit the verdict's changes and move the live tree there.

        The first change of a session makes `workbench/<slug>` from where the tree stands; the next
        ones go on top. WorkbenchError, and nothing is changed, when something is in the way.
        """
        with self._ground() as here:
            if not verdict.ok or not verdict.changes:
                raise WorkbenchError("This edit was refused.", verdict.reason)
            self._unchanged(verdict.changes)
            title = _title(title, verdict.changes)
            branch = here.branch if here.base else self._free_name(title)
            told = {"Branch": branch, "Base": here.base or here.branch}
            told |= {"Start": here.start or here.head}
            if provenance:
                told |= {"Model": provenance.model, "Digest": provenance.digest}
                told |= {"Discussion": provenance.discussion}
            trailers = "".join(f"Workbench-{k}: {_one_line(v)}\n" for k, v in told.items() if v)
            new = self._commit(here.head, verdict.changes, f"{title}\n\n{trailers}")
            return self._land(here, new, branch)

    def undo(self, steps: int = 1) -> Applied:
        """Take the newest changes back; the tree is exactly as before them."""
        with self._ground() as here:
            target = here.head
            for _ in range(steps):
                if not here.base or target == here.start:
                    raise WorkbenchError(
                        f"There is nothing to undo: {target[:12]} was not made by Workbench here.",
                        "patch list shows what was applied.",
                    )
                target = self.repo.git("rev-parse", f"{target}^").strip()
            home = target == here.start == self._tip(here.base)  # the session's first is gone
            redo = self._commit_of(REDO) or here.head
            return self._land(here, target, here.base if home else here.branch, redo)

    def redo(self) -> Applied:
        """Bring the change that was undone last again."""
        with self._ground() as here:
            last = self._commit_of(REDO)
            undone = self.repo.git(
                "rev-list", "--reverse", "--ancestry-path", f"{here.head}..{last or here.head}"
            )
            if not undone:
                raise WorkbenchError("There is nothing to redo here.", "patch list shows why.")
            after = undone.split()[0]
            marks, branch = self._marks(after), here.branch
            if not here.base:
                if branch != marks.get("Base"):
                    raise WorkbenchError(
                        f"The change was undone on {marks.get('Base')}; this is {branch}.",
                        f"Switch back first: git switch {marks.get('Base')}",
                    )
                branch = self._free_name(marks["Branch"].removeprefix(PREFIX))
            return self._land(here, after, branch, "" if after == last else last)

    def keep(self) -> Applied:
        """Fast-forward the person's own branch to here and go back to it."""
        with self._ground() as here:
            if not here.base:
                raise WorkbenchError(
                    f"There is nothing to keep on {here.branch}.", "Apply a change first."
                )
            tip = self._tip(here.base)
            if not tip or self.repo.try_git("merge-base", "--is-ancestor", tip, here.head)[0]:
                raise WorkbenchError(
                    f"{here.base} has moved on, so it cannot be fast-forwarded to {here.branch}.",
                    f"Merge by hand: git switch {here.base} && git merge {here.branch}",
                )
            return self._land(here, here.head, here.base)

    def changes(self, limit: int = 100) -> list[Listed]:
        """What was applied here, newest first; what was undone and can come again stands first."""
        head, last = self.repo.head(), self._commit_of(REDO)
        spans = [(f"{head}..{last}", "undone")] if last else []
        rows = []
        for span, state in [*spans, (head, "applied")] if head else []:
            form = "--format=%H%x1f%s%x1f%aI%x1f%b"
            out = self.repo.git("log", f"-n{limit}", "-z", "--grep=^Workbench-Base: ", form, span)
            for row in filter(None, out.split("\0")):
                *facts, body = row.split("\x1f", 3)
                rows.append(Listed(*facts, dict(TRAILER.findall(body)).get("Model", ""), state))
        return rows

    @contextmanager
    def _ground(self) -> Iterator[Ground]:
        """Where a change can begin, held alone; WorkbenchError where none can."""
        folder = Path(self.repo.git("rev-parse", "--absolute-git-dir").rstrip("\n"))
        try:
            lock = (folder / "workbench.lock").open("w")
        except OSError as error:
            raise WorkbenchError(
                f"{folder} cannot be written: {error.strerror}.", "Check the folder's permissions."
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            head, branch = self.repo.head(), self.repo.branch()
            if head is None:
                raise WorkbenchError(
                    "This repository has no commit yet.", "Make one: git add -A && git commit"
                )
            if branch is None:
                raise WorkbenchError(
                    f"No branch is checked out (detached HEAD at {head[:12]}).",
                    "Switch to a branch first: git switch NAME",
                )
            if any((folder / name).exists() for name in UNFINISHED):
                raise WorkbenchError(
                    "A merge, rebase or cherry-pick is under way.", "Finish or abort it first."
                )
            marks = self._marks(head)
            ours = branch.startswith(PREFIX) and marks.get("Branch") == branch
            yield Ground(head, branch, *((marks["Base"], marks["Start"]) if ours else ()))

    def _unchanged(self, changes: tuple[Change, ...]) -> None:
        """Every file is what the change was made from, and committed as such."""
        touched = [f":(literal){path}" for c in changes for path in (c.path, c.old_path) if path]
        out = self.repo.git(
            "status", "--porcelain", "-z", "--ignored", "--no-renames", "--", *touched
        )
        if out:
            dirty = ", ".join(sorted(row[3:] for row in out.split("\0") if row))
            raise WorkbenchError(f"{dirty}: {IN_THE_WAY[0]}", IN_THE_WAY[1])
        for change in changes:
            source = change.old_path or change.path
            if change.action != "create":
                file = self.repo.text(source)
                committed = self.repo.git("rev-parse", f"HEAD:{source}").strip()
                if not file or not change.before_sha == file.sha == committed:
                    raise WorkbenchError(
                        f"{source} is not what was checked, or git changes its line ends.",
                        "Check the edit again; see git config core.autocrlf.",
                    )

    def _commit(self, head: str, changes: tuple[Change, ...], message: str) -> str:
        """A commit on top of `head`, byte for byte as it was shown; runs no hook and no filter."""
        rows = []
        for change in changes:
            for gone in {change.path, change.old_path or change.path}:
                rows.append(f"0 {'0' * len(head)}\t{gone}\0")
            if change.after is not None:
                data = change.after.encode(change.encoding)
                blob = self.repo.git("hash-object", "-w", "--stdin", stdin=data).strip()
                rows.append(f"{change.mode} {blob}\t{change.path}\0")
        with tempfile.TemporaryDirectory(prefix="workbench-") as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index"}
            self.repo.git("read-tree", head, env=env)
            stdin = os.fsencode("".join(rows))
            self.repo.git("update-index", "-z", "--index-info", stdin=stdin, env=env)
            tree = self.repo.git("write-tree", env=env).strip()
        env = {}
        if self.repo.try_git("var", "GIT_COMMITTER_IDENT")[0]:  # git knows no name here
            people = ("AUTHOR", "COMMITTER")
            env = {f"GIT_{who}_{key}": value for who in people for key, value in IDENTITY.items()}
        told = message.encode("utf-8", "replace")
        return self.repo.git("commit-tree", tree, "-p", head, stdin=told, env=env).strip()

    def _land(self, here: Ground, to: str, branch: str, redo: str = "") -> Applied:
        """Move index and files to a commit and check `branch` out there; all of it, or nothing."""
        was = here.head if branch == here.branch else self._tip(branch) or "0" * len(to)
        refs = [f"update refs/heads/{branch} {to} {was}"]
        refs.append(f"update {REDO} {redo}" if redo else f"delete {REDO}")
        self._move(here.head, to)
        try:
            self.repo.git("update-ref", "--stdin", stdin="\n".join([*refs, ""]).encode())
        except WorkbenchError:
            self._move(to, here.head)
            raise
        self.repo.git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
        if here.base and branch == here.base:
            self.repo.git("update-ref", "-d", f"refs/heads/{here.branch}", here.head)
        return Applied(branch, to, here.head)

    def _move(self, old: str, new: str) -> None:
        self.repo.try_git("update-index", "-q", "--refresh")
        for dry in (["-n"], []):
            code, _, trouble = self.repo.try_git(
                "-c", "core.autocrlf=false", "read-tree", *dry, "-m", "-u", old, new
            )
            if code:
                what = ", ".join(CLASH.findall(trouble)) or trouble.strip()
                raise WorkbenchError(f"{what}: {IN_THE_WAY[0]}", IN_THE_WAY[1])

    def _free_name(self, title: str) -> str:
        slug = "-".join(re.findall(r"[a-z0-9]+", title.lower())[:6])[:48] or "change"
        names = (f"{PREFIX}{slug}{'' if n == 1 else f'-{n}'}" for n in itertools.count(1))
        return next(name for name in names if not self._tip(name))

    def _tip(self, branch: str) -> str:
        return self._commit_of(f"refs/heads/{branch}")

    def _commit_of(self, ref: str) -> str:
        """The commit a ref names, or ""."""
        out = self.repo.try_git("rev-parse", "--verify", "-q", f"{ref}^{{commit}}")[1]
        return out.decode().strip()

    def _marks(self, commit: str) -> dict[str, str]:
        """What we wrote under a commit; {} for one that is not ours."""
        found = dict(TRAILER.findall(self.repo.git("log", "-1", "--format=%b", commit)))
        return found if {"Branch", "Base", "Start"} <= found.keys() else {}


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())[:300]


def _title(title: str, changes: tuple[Change, ...]) -> str:
    """The commit's subject: one plain line."""
    names = changes[0].path if len(changes) == 1 else plural(len(changes), "file")
    line = _one_line(title) or f"{changes[0].action.title()} {names}"
    return line if len(line) <= TITLE_CHARS else f"{line[: TITLE_CHARS - 1]}…"
