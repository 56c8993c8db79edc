"""The only writer of source: commits a verdict on a branch of its own, and takes it back.

Knows nothing of models or pages; every fact is git's own (commits, trailers, refs). Invariant: the
person's branch, uncommitted work, ignored files and remotes stay as they were, or all is refused.
"""

import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from patches.journal import Journal, in_the_way
from repo import Repo
from shapes import Applied, Change, Provenance, Verdict, WorkbenchError, frozen

PREFIX = "workbench/"
REDO, GOOD = "refs/workbench/redo", "refs/workbench/good"
TRAILER = re.compile(r"^Workbench-(\w+): (.*)$", re.M)
IDENTITY = ("-c", "user.name=Workbench", "-c", "user.email=workbench@localhost")
UNFINISHED = ("MERGE_HEAD", "rebase-merge", "rebase-apply", "CHERRY_PICK_HEAD", "REVERT_HEAD")


@frozen
class Listed:
    commit: str
    date: str
    model: str
    subject: str
    state: str  # "applied", "undone", or "kept"


@frozen
class Ground:
    head: str
    branch: str
    base: str  # the person's branch
    start: str  # where ours left it
    journal: Journal


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
        return self._step(-steps)

    def redo(self, steps: int = 1) -> Applied:
        """Bring the changes again that were undone last."""
        return self._step(steps)

    def go(self, commit: str) -> Applied:
        """Undo or redo until this commit is the newest."""
        return self._step(0, commit)

    def _step(self, steps: int, to: str = "") -> Applied:
        with self._ground() as here:
            done, undone = self._road(here.start, here.head, here.base)
            road, at = [here.start, *done, *undone], len(done)
            target = road.index(to) if to in road else at + steps
            if target == at or not 0 <= target < len(road):
                what = "redo" if steps > 0 else "undo"
                raise WorkbenchError(f"There is nothing to {what} here.", "See patch list.")
            redo = road[-1] if road[target + 1 :] else ""
            if target > at:
                name = self._marks(undone[0])["Branch"].removeprefix(PREFIX)
                return self._land(here, road[target], self._branch(here, name), redo)
            home = target == 0 and here.start == self._tip(here.base)
            return self._land(here, road[target], here.base if home else here.branch, redo)

    def _road(self, start: str, head: str, base: str) -> tuple[list[str], list[str]]:
        """What was applied since `start`, and what was undone from here; the oldest first."""
        ends = (start, head), (head, self.repo.object(REDO) or head)
        log = "rev-list", "--reverse", "--ancestry-path"
        done, undone = (self.repo.git(*log, f"{a}..{b}").split() for a, b in ends)
        ours = undone and self._marks(undone[0]).get("Base") == base
        return done, undone if ours else []

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
        """The newest first: what was undone and can come again, was applied, was kept."""
        if not (head := self.repo.head()):
            return []
        base, start = self._start(head, self.repo.branch())
        done, undone = self._road(start, head, base)
        form = "--format=%H%x1f%aI%x1f%(trailers:key=Workbench-Model,valueonly,separator=)%x1f%s"
        newest = [head, *undone][-1]
        log = self.repo.git("log", "-n100", "-z", "--grep=^Workbench-Base: ", form, newest)
        rows = (row.split("\x1f", 3) for row in log.split("\0")[:-1])
        state = dict.fromkeys(undone, "undone") | dict.fromkeys(done, "applied")
        return [Listed(*row, state.get(row[0], "kept")) for row in rows]

    def mend(self) -> str:
        """Finish or take back what a kill has left half done; the commit that it is at, or ""."""
        with Journal.hold(self.repo) as journal:
            return journal.mended

    def confirm(self) -> str:
        """What is checked out has proved itself."""
        return self.repo.git("update-ref", GOOD, "HEAD")

    def rescue(self) -> str:
        """Go back to what has proved itself, or is the person's own; says what was done."""
        mended, head = self.mend(), self.repo.head()
        good = self.repo.object(GOOD) or self._start(head, self.repo.branch())[1]
        if good != head:
            mended = self.go(good).commit
        return mended and f"The source is at {mended} again."

    @contextmanager
    def _ground(self) -> Iterator[Ground]:
        """Where a change can begin, held alone."""
        with Journal.hold(self.repo) as journal:
            head, branch = self.repo.head(), self.repo.branch()
            unfinished = any((journal.folder / name).exists() for name in UNFINISHED)
            if not head or not branch or unfinished:
                what = "There is no commit yet, no branch (detached HEAD), or a merge is under way."
                raise WorkbenchError(what, "Commit, run git switch NAME, or finish it.")
            yield Ground(head, branch, *self._start(head, branch), journal)

    def _start(self, head: str, branch: str) -> tuple[str, str]:
        """The person's branch, and where ours left it."""
        marks = self._marks(head)
        ours = marks.get("Branch") == branch
        return (marks["Base"], marks["Start"]) if ours else (branch, head)

    def _commit(self, head: str, changes: tuple[Change, ...], message: str) -> str:
        """A commit on top of `head`, byte for byte as shown. Every file must still be, in the tree
        and in `head`, what the change was made from."""
        rows = []
        for change in changes:
            source = change.old_path or change.path
            file = self.repo.text(source)
            found = {file.sha if file else "", self.repo.object(f"{head}:{source}")}
            if found != {change.before_sha or ""}:
                raise in_the_way(f"{source} (or it has changed, or git converts its bytes)")
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
        refs = {f"refs/heads/{branch}": (self._tip(branch), to)}
        refs[REDO] = self.repo.object(REDO), redo
        ours = here.head, to if branch == here.branch else ""
        if branch in (here.branch, here.base):
            refs[f"refs/heads/{here.branch}"] = ours
        here.journal.move((here.head, to), branch, refs)
        return Applied(branch, to, here.head)

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


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]
