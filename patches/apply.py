"""The only writer of source: commits a verdict on a branch of its own, and takes it back.

Knows nothing of models or pages; every fact is git's own (commits, trailers, refs). Invariant: the
person's branch, uncommitted work, ignored files and remotes stay as they were, or all is refused.
"""

import fcntl
import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from repo import Repo
from shapes import Applied, Change, Provenance, Verdict, WorkbenchError

PREFIX = "workbench/"
REDO = "refs/workbench/redo"
TRAILER = re.compile(r"^Workbench-(\w+): (.*)$", re.M)
IDENTITY = ("-c", "user.name=Workbench", "-c", "user.email=workbench@localhost")
UNFINISHED = ("MERGE_HEAD", "rebase-merge", "rebase-apply", "CHERRY_PICK_HEAD", "REVERT_HEAD")


@dataclass(frozen=True)
class Listed:
    commit: str
    date: str
    model: str
    subject: str
    state: str  # "applied", or "undone"


@dataclass(frozen=True)
class Ground:
    head: str
    branch: str
    base: str
    start: str


class Branch:
    def __init__(self, repo: Repo) -> None:
        self.repo = repo

    def apply(
        self, verdict: Verdict, title: str = "", provenance: Provenance | None = None
    ) -> Applied:
        """Commit the changes and move the live tree there: first on a new branch
        `workbench/<slug>`, then on top. WorkbenchError changes nothing."""
        with self._ground() as here:
            if not verdict.ok or not verdict.changes:
                raise WorkbenchError("This edit was refused.", verdict.reason)
            first = verdict.changes[0]
            title = (_one_line(title) or f"{first.action.title()} {first.path}")[:72]
            branch = self._branch(here, title)
            told = {"Branch": branch, "Base": here.base, "Start": here.start}
            told |= {k.title(): v for k, v in vars(provenance or Provenance()).items()}
            trailers = "".join(f"Workbench-{k}: {_one_line(v)}\n" for k, v in told.items() if v)
            new = self._commit(here.head, verdict.changes, f"{title}\n\n{trailers}")
            return self._land(here, new, branch)

    def undo(self, steps: int = 1) -> Applied:
        """Take the newest changes back, exactly."""
        with self._ground() as here:
            target = here.head
            for _ in range(steps):
                if target == here.start:
                    raise WorkbenchError("There is nothing to undo.", "See patch list.")
                target = self._object(f"{target}^")
            home = target == here.start == self._tip(here.base)  # the session's first is gone
            redo = self._object(REDO) or here.head
            return self._land(here, target, here.base if home else here.branch, redo)

    def redo(self) -> Applied:
        """Bring the last undone change again."""
        with self._ground() as here:
            last = self._object(REDO) or here.head
            span = f"{here.head}..{last}"
            undone = self.repo.git("rev-list", "--reverse", "--ancestry-path", span).split()
            marks = self._marks(undone[0]) if undone else {}
            if not marks or marks["Base"] != here.base:
                raise WorkbenchError(f"There is nothing to redo on {here.branch}.", "Undo first.")
            branch = self._branch(here, marks["Branch"].removeprefix(PREFIX))
            return self._land(here, undone[0], branch, last if undone[1:] else "")

    def keep(self) -> Applied:
        """Fast-forward the person's branch to here, and go back to it."""
        with self._ground() as here:
            if here.branch == here.base:
                raise WorkbenchError("There is nothing to keep.", "Apply first.")
            base = f"refs/heads/{here.base}"
            if self.repo.try_git("merge-base", "--is-ancestor", base, here.head)[0]:
                merge = f"Run git switch {here.base} && git merge {here.branch}"
                raise WorkbenchError(f"{here.base} has moved on.", merge)
            return self._land(here, here.head, here.base)

    def changes(self) -> list[Listed]:
        """The newest first; before what was applied here, what was undone and can come again."""
        head = self.repo.head()
        spans = {f"{head}..{self._object(REDO) or head}": "undone", head: "applied"} if head else {}
        form = "--format=%H%x1f%aI%x1f%(trailers:key=Workbench-Model,valueonly,separator=)%x1f%s"
        found = ["-n100", "-z", "--grep=^Workbench-Base: ", form]
        return [
            Listed(*row.split("\x1f", 3), state)
            for span, state in spans.items()
            for row in self.repo.git("log", *found, span).split("\0")
            if row
        ]

    @contextmanager
    def _ground(self) -> Iterator[Ground]:
        """Where a change can begin, held alone; WorkbenchError where none can."""
        folder = Path(self.repo.git("rev-parse", "--absolute-git-dir").rstrip("\n"))
        try:
            lock = (folder / "workbench.lock").open("w")
        except OSError as error:
            raise WorkbenchError(f"{folder} cannot be written.", str(error)) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            head, branch = self.repo.head(), self.repo.branch()
            if not head or not branch or any((folder / name).exists() for name in UNFINISHED):
                what = "There is no commit yet, no branch (detached HEAD), or a merge is under way."
                raise WorkbenchError(what, "Commit, run git switch NAME, or finish it.")
            marks = self._marks(head)
            ours = marks.get("Branch") == branch != marks.get("Base")
            yield Ground(
                head, branch, *((marks["Base"], marks["Start"]) if ours else (branch, head))
            )

    def _commit(self, head: str, changes: tuple[Change, ...], message: str) -> str:
        """A commit on top of `head`, byte for byte as shown, without hooks or filters. Every file
        must still be, in the tree and in `head`, what the change was made from."""
        rows = []
        for change in changes:
            source = change.old_path or change.path
            if change.before_sha:
                file, committed = self.repo.text(source), self._object(f"{head}:{source}")
                if not file or not change.before_sha == file.sha == committed:
                    raise _in_the_way(f"{source} (or it has changed, or git converts its bytes)")
                rows.append(f"0 {'0' * len(head)}\t{source}\0")
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
        named = self.repo.try_git("var", "GIT_COMMITTER_IDENT")[0] == 0
        command = *(() if named else IDENTITY), "commit-tree", tree, "-p", head
        return self.repo.git(*command, stdin=message.encode()).strip()

    def _land(self, here: Ground, to: str, branch: str, redo: str = "") -> Applied:
        """Check `branch` out at a commit, and move it there; all of it, or nothing."""
        where = "for-each-ref", "--format=%(worktreepath)", f"refs/heads/{branch}"
        if branch == here.base and self.repo.git(*where).strip():
            raise WorkbenchError(f"{branch} is in another worktree.", "Switch that one.")
        if theirs := self._theirs(here.head, to):
            raise _in_the_way(theirs)
        was = here.head if branch == here.branch else self._tip(branch) or "0" * len(to)
        refs = f"update refs/heads/{branch} {to} {was}\n"
        refs += f"update {REDO} {redo}\n" if redo else f"delete {REDO}\n"
        self._move(here.head, to)
        try:
            self.repo.git("update-ref", "--stdin", stdin=os.fsencode(refs))
        except WorkbenchError:
            self._move(to, here.head)
            raise
        self.repo.git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
        if branch == here.base:
            self.repo.git("update-ref", "-d", f"refs/heads/{here.branch}", here.head)
        return Applied(branch, to, here.head)

    def _theirs(self, old: str, new: str) -> str:
        """What of the person's stands where the files of `new` go. Ignored files count: git would
        overwrite them without a word."""
        changed = self.repo.git("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new)
        paths = [PurePosixPath(path) for path in changed.split("\0") if path]
        places = {up: self.repo.root / up for path in paths for up in path.parents}
        paths += [up for up, place in places.items() if place.is_symlink() or place.is_file()]
        if not paths:
            return ""
        status = "status", "--porcelain", "-z", "--no-renames", "--ignored", "-uall", "--"
        found = self.repo.git("--literal-pathspecs", *status, *map(str, paths))
        return ", ".join(row[3:] for row in found.split("\0") if row)

    def _move(self, old: str, new: str) -> None:
        self.repo.try_git("update-index", "-q", "--refresh")
        move = "-c", "core.autocrlf=false", "read-tree", "-m", "-u", old, new
        code, _, trouble = self.repo.try_git(*move)
        if code:
            raise _in_the_way(trouble.strip())

    def _branch(self, here: Ground, title: str) -> str:
        if here.branch != here.base:
            return here.branch
        slug = "-".join(re.findall(r"[a-z0-9]+", title.lower())[:6])[:48] or "change"
        names = (f"{PREFIX}{slug}{'' if n == 1 else f'-{n}'}" for n in itertools.count(1))
        return next(name for name in names if not self._tip(name))

    def _tip(self, branch: str) -> str:
        return self._object(f"refs/heads/{branch}")

    def _object(self, name: str) -> str:
        return self.repo.try_git("rev-parse", "--verify", "-q", name)[1].decode().strip()

    def _marks(self, commit: str) -> dict[str, str]:
        """What we wrote under a commit; {} for one that is not ours."""
        found = dict(TRAILER.findall(self.repo.git("log", "-1", "--format=%b", commit)))
        return found if {"Branch", "Base", "Start"} <= found.keys() else {}


def _in_the_way(what: str) -> WorkbenchError:
    return WorkbenchError(f"{what}: there is uncommitted work in the way.", "Commit or move it.")


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]
