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
from pathlib import Path

from repo import Repo
from shapes import Applied, Change, Provenance, Verdict, WorkbenchError, frozen

PREFIX = "workbench/"
REDO = "refs/workbench/redo"
TRAILER = re.compile(r"^Workbench-(\w+): (.*)$", re.M)
IDENTITY = ("-c", "user.name=Workbench", "-c", "user.email=workbench@localhost")
UNFINISHED = ("MERGE_HEAD", "rebase-merge", "rebase-apply", "CHERRY_PICK_HEAD", "REVERT_HEAD")


@frozen
class Listed:
    commit: str
    date: str
    model: str
    subject: str
    state: str  # "applied", or "undone"


@frozen
class Ground:
    head: str
    branch: str
    base: str  # the person's branch
    start: str  # where ours left it


@frozen
class Branch:
    repo: Repo

    def apply(
        self, verdict: Verdict, title: str = "", provenance: Provenance | None = None
    ) -> Applied:
        """Commit the changes on a branch `workbench/<slug>`, and move the live tree there."""
        with self._ground() as here:
            if not verdict.ok or not verdict.changes:
                raise WorkbenchError("This edit was refused.", verdict.reason)
            first = verdict.changes[0]
            title = (_one_line(title) or f"{first.action.title()} {first.path}")[:72]
            branch = self._branch(here, title)
            told = {"branch": branch, "base": here.base, "start": here.start}
            told |= vars(provenance or Provenance())
            rows = [f"Workbench-{k.title()}: {_one_line(v)}\n" for k, v in told.items() if v]
            new = self._commit(here.head, verdict.changes, f"{title}\n\n{''.join(rows)}")
            return self._land(here, new, branch)

    def undo(self, steps: int = 1) -> Applied:
        """Take the newest changes back, exactly."""
        with self._ground() as here:
            target = here.head
            for _ in range(steps):
                if target == here.start:
                    raise WorkbenchError("There is nothing to undo.", "See patch list.")
                target = self.repo.object(f"{target}^")
            home = target == here.start == self._tip(here.base)
            redo = self.repo.object(REDO) or here.head
            return self._land(here, target, here.base if home else here.branch, redo)

    def redo(self) -> Applied:
        """Bring the last undone change again."""
        with self._ground() as here:
            last = self.repo.object(REDO) or here.head
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
            tip = self._tip(here.base)
            if self.repo.try_git("merge-base", "--is-ancestor", tip, here.head)[0]:
                merge = f"Run git switch {here.base} && git merge {here.branch}"
                raise WorkbenchError(f"{here.base} has moved on.", merge)
            return self._land(here, here.head, here.base)

    def changes(self) -> list[Listed]:
        """The newest first; before what was applied, what was undone and can come again."""
        if not (head := self.repo.head()):
            return []
        spans = {"undone": f"{head}..{self.repo.object(REDO) or head}", "applied": head}
        form = "--format=%H%x1f%aI%x1f%(trailers:key=Workbench-Model,valueonly,separator=)%x1f%s"
        found = "-n100", "-z", "--grep=^Workbench-Base: ", form
        return [
            Listed(*row.split("\x1f", 3), state)
            for state, span in spans.items()
            for row in self.repo.git("log", *found, span).split("\0")[:-1]
        ]

    @contextmanager
    def _ground(self) -> Iterator[Ground]:
        """Where a change can begin, held alone."""
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
            if marks.get("Branch") == branch:
                yield Ground(head, branch, marks["Base"], marks["Start"])
            else:
                yield Ground(head, branch, branch, head)

    def _commit(self, head: str, changes: tuple[Change, ...], message: str) -> str:
        """A commit on top of `head`, byte for byte as shown. Every file must still be, in the tree
        and in `head`, what the change was made from."""
        rows = []
        for change in changes:
            source = change.old_path or change.path
            file = self.repo.text(source)
            found = {file.sha if file else "", self.repo.object(f"{head}:{source}")}
            if found != {change.before_sha or ""}:
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
        was = here.head if branch == here.branch else self._tip(branch) or "0" * len(to)
        refs = f"update refs/heads/{branch} {to} {was}\n"
        refs += f"update {REDO} {redo}\n" if redo else f"delete {REDO}\n"
        self._check_out("--detach", to)
        try:
            self.repo.git("update-ref", "--stdin", stdin=os.fsencode(refs))
        except WorkbenchError:
            self._check_out(here.branch)
            raise
        self.repo.git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
        if branch == here.base:
            self.repo.git("update-ref", "-d", f"refs/heads/{here.branch}", here.head)
        return Applied(branch, to, here.head)

    def _check_out(self, *what: str) -> None:
        """Ignored files count as the person's: git would overwrite them without a word."""
        safely = "-c", "core.autocrlf=false", "checkout", "-q", "--no-overwrite-ignore"
        code, _, trouble = self.repo.try_git(*safely, *what, "--")
        if code:
            raise _in_the_way(", ".join(re.findall("^\t(.*)", trouble, re.M)) or trouble.strip())

    def _branch(self, here: Ground, title: str) -> str:
        if here.branch != here.base:
            return here.branch
        slug = "-".join(re.findall(r"[a-z0-9]+", title.lower())[:6])[:48] or "change"
        more = itertools.chain([""], (f"-{n}" for n in itertools.count(2)))
        return next(name for n in more if not self._tip(name := f"{PREFIX}{slug}{n}"))

    def _tip(self, branch: str) -> str:
        return self.repo.object(f"refs/heads/{branch}")

    def _marks(self, commit: str) -> dict[str, str]:
        """What we wrote under a commit; {} for one that is not ours."""
        found = dict(TRAILER.findall(self.repo.git("log", "-1", "--format=%b", commit)))
        return found if {"Branch", "Base", "Start"} <= found.keys() else {}


def _in_the_way(what: str) -> WorkbenchError:
    return WorkbenchError(f"{what}: there is uncommitted work in the way.", "Commit or move it.")


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]
