"""The only writer of source: commits a verdict on a branch of its own, and takes it back.

Knows nothing of models or pages; every fact is git's own (commits, trailers, refs). Invariants:
the commit is made in a scratch worktree; the live tree moves only when nothing of the person's is
in the way; their branch, their uncommitted work and every remote stay as they were.
"""

import fcntl
import os
import re
import shutil
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
TITLE_CHARS = 72


@dataclass(frozen=True)
class Listed:
    """A change that was made here, for a list."""

    commit: str
    subject: str
    date: str
    model: str
    state: str  # "applied", or "undone" and still there for redo


class Branch:
    """The applying half of patches, for one repository."""

    def __init__(self, repo: Repo) -> None:
        self.repo = repo

    # -- there and back ------------------------------------------------------------------------

    def apply(
        self, verdict: Verdict, title: str = "", provenance: Provenance | None = None
    ) -> Applied:
        """Commit the verdict's changes and move the live tree there.

        The first change of a session makes `workbench/<slug>` from where the tree stands; the next
        ones go on top. WorkbenchError, and nothing is changed, when something is in the way.
        """
        with self._alone():
            head, branch = self._standing()
            if not verdict.ok or not verdict.changes:
                raise WorkbenchError("This edit was refused.", verdict.reason)
            self._unchanged(verdict.changes)
            title = _title(title, verdict.changes)
            going_on = branch.startswith(PREFIX) and bool(self._trailers(head))
            marks = self._trailers(head) if going_on else {"Base": branch, "Start": head}
            marks = {key: marks[key] for key in ("Base", "Start")}
            target = branch if going_on else self._free_name(title)
            new = self._commit(head, verdict.changes, title, marks, target, provenance)
            self._move(head, new)
            self.repo.git("update-ref", f"refs/heads/{target}", new, head if going_on else "")
            self.repo.git("symbolic-ref", "HEAD", f"refs/heads/{target}")
            self.repo.try_git("update-ref", "-d", REDO)
            return Applied(target, new, head)

    def undo(self, steps: int = 1) -> Applied:
        """Take the newest changes back; the tree is exactly as before them."""
        with self._alone():
            head, branch = self._standing()
            target, marks = head, {}
            for _ in range(steps):
                marks = self._trailers(target)
                if not branch.startswith(PREFIX) or not marks:
                    raise WorkbenchError(
                        f"There is nothing to undo: {target[:12]} was not made by Workbench.",
                        "patch list shows what was applied here.",
                    )
                target = self.repo.git("rev-parse", f"{target}^").strip()
            self._move(head, target)
            if not self.repo.try_git("rev-parse", "--verify", "-q", REDO)[1]:
                self.repo.git("update-ref", REDO, head)
            base = marks["Base"]
            if target == marks["Start"] == self._tip(base):  # the session's first change is gone
                self.repo.git("symbolic-ref", "HEAD", f"refs/heads/{base}")
                self.repo.git("update-ref", "-d", f"refs/heads/{branch}", head)
                branch = base
            else:
                self.repo.git("update-ref", f"refs/heads/{branch}", target, head)
            return Applied(branch, target, head)

    def redo(self) -> Applied:
        """Bring the change that was undone last again."""
        with self._alone():
            head, branch = self._standing()
            last = self._tip_of(REDO)
            line = (
                self.repo.git("rev-list", "--parents", f"{head}..{last}").split("\n")
                if last
                else []
            )
            after = next((row.split()[0] for row in line if row.split()[1:] == [head]), None)
            if after is None:
                raise WorkbenchError("There is nothing to redo.", "Nothing was undone since.")
            marks = self._trailers(after)
            if not branch.startswith(PREFIX):
                if branch != marks["Base"]:
                    raise WorkbenchError(
                        f"The change was undone on {marks['Base']}; this is {branch}.",
                        f"Switch back first: git switch {marks['Base']}",
                    )
                branch = marks["Branch"]
            self._move(head, after)
            self.repo.git("update-ref", f"refs/heads/{branch}", after)
            self.repo.git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
            if after == last:
                self.repo.git("update-ref", "-d", REDO)
            return Applied(branch, after, head)

    def keep(self) -> Applied:
        """Fast-forward the person's own branch to here and go back to it."""
        with self._alone():
            head, branch = self._standing()
            marks = self._trailers(head)
            if not branch.startswith(PREFIX) or not marks:
                raise WorkbenchError(
                    f"There is nothing to keep on {branch}.", "Apply a change first."
                )
            base, tip = marks["Base"], self._tip(marks["Base"])
            if not tip or self.repo.try_git("merge-base", "--is-ancestor", tip, head)[0]:
                raise WorkbenchError(
                    f"{base} has moved on, so it cannot be fast-forwarded to {branch}.",
                    f"Merge by hand: git switch {base} && git merge {branch}",
                )
            self.repo.git("update-ref", f"refs/heads/{base}", head, tip)
            self.repo.git("symbolic-ref", "HEAD", f"refs/heads/{base}")
            self.repo.git("update-ref", "-d", f"refs/heads/{branch}", head)
            self.repo.try_git("update-ref", "-d", REDO)
            return Applied(base, head, tip)

    def changes(self, limit: int = 100) -> list[Listed]:
        """What was applied here, newest first; what was undone and can come again stands first."""
        head, last = self.repo.head(), self._tip_of(REDO)
        rows = []
        if last and head:
            rows += self._listed(f"{head}..{last}", "undone", limit)
        if head:
            rows += self._listed(head, "applied", limit)
        return rows

    # -- the ground we stand on ----------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time moves this repository."""
        place = Path(self.repo.git("rev-parse", "--absolute-git-dir").rstrip("\n"))
        try:
            lock = (place / "workbench.lock").open("w")
        except OSError as error:
            raise WorkbenchError(
                f"{place} cannot be written: {error.strerror}.", "Check the folder's permissions."
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _standing(self) -> tuple[str, str]:
        """The commit and the branch that are checked out; refuses where no change can begin."""
        head, branch = self.repo.head(), self.repo.branch()
        if head is None:
            raise WorkbenchError(
                "This repository has no commit yet.", "Make a first one: git add -A && git commit"
            )
        if branch is None:
            raise WorkbenchError(
                f"No branch is checked out (detached HEAD at {head[:12]}).",
                "Switch to a branch first: git switch NAME",
            )
        folder = Path(self.repo.git("rev-parse", "--absolute-git-dir").rstrip("\n"))
        for name in (
            "MERGE_HEAD",
            "rebase-merge",
            "rebase-apply",
            "CHERRY_PICK_HEAD",
            "REVERT_HEAD",
        ):
            if (folder / name).exists():
                raise WorkbenchError(
                    "A merge, rebase or cherry-pick is under way.", "Finish or abort it first."
                )
        return head, branch

    def _unchanged(self, changes: tuple[Change, ...]) -> None:
        """Every file is what the change was made from, and committed as such."""
        touched = [p for c in changes for p in (c.path, c.old_path) if p]
        out = self.repo.git(
            "status", "--porcelain", "-z", "--ignored", "--", *map(_literal, touched)
        )
        dirty = sorted({row[3:] for row in out.split("\0") if len(row) > 3})
        if dirty:
            raise WorkbenchError(
                f"{', '.join(dirty)}: there is uncommitted work in the way.",
                "Commit or stash it, then apply again.",
            )
        for change in changes:
            if change.action != "create":
                file = self.repo.text(change.old_path or change.path)
                if file is None or file.sha != change.before_sha:
                    raise WorkbenchError(
                        f"{change.path} has changed since the edit was checked.", "Check it again."
                    )

    def _commit(
        self,
        head: str,
        changes: tuple[Change, ...],
        title: str,
        marks: dict[str, str],
        branch: str,
        provenance: Provenance | None,
    ) -> str:
        """A commit on top of `head`, made in a scratch worktree that is gone afterwards."""
        lines = {"Branch": branch, **marks}
        if provenance:
            lines |= {"Model": provenance.model, "Digest": provenance.digest}
            lines |= {"Discussion": provenance.discussion}
        trailers = "\n".join(f"Workbench-{k}: {_one_line(v)}" for k, v in lines.items() if v)
        scratch = Path(tempfile.mkdtemp(prefix="workbench-"))
        tree = scratch / "tree"
        try:
            self.repo.git("worktree", "add", "--detach", "--no-checkout", str(tree), head)
            self.repo.git("read-tree", "HEAD", cwd=tree)
            for change in changes:
                self._stage(tree, change)
            self.repo.git(
                "commit", "-q", "--no-verify", "--cleanup=verbatim", "-F", "-",
                stdin=f"{title}\n\n{trailers}\n".encode("utf-8", "replace"),
                cwd=tree,
                env=self._identity(),
            )  # fmt: skip
            return self.repo.git("rev-parse", "HEAD", cwd=tree).strip()
        finally:
            self.repo.try_git("worktree", "remove", "--force", "--force", str(tree))
            shutil.rmtree(scratch, ignore_errors=True)
            self.repo.try_git("worktree", "prune")

    def _stage(self, tree: Path, change: Change) -> None:
        """Put one file into the scratch worktree's index, byte for byte as it was shown."""
        for gone in {change.old_path, change.path if change.after is None else None} - {None}:
            self.repo.git("rm", "-q", "--cached", "--", _literal(gone), cwd=tree)
        if change.after is not None:
            data = change.after.encode(change.encoding)
            blob = self.repo.git("hash-object", "-w", "--stdin", stdin=data, cwd=tree).strip()
            row = f"{change.mode} {blob}\t{change.path}\0"
            self.repo.git(
                "update-index", "-z", "--add", "--index-info", stdin=os.fsencode(row), cwd=tree
            )

    def _identity(self) -> dict[str, str]:
        """The person's own name, or ours where git knows none."""
        if self.repo.try_git("var", "GIT_AUTHOR_IDENT")[0] == 0:
            return {}
        return {f"GIT_{who}_{k}": v for who in ("AUTHOR", "COMMITTER") for k, v in IDENTITY.items()}

    def _move(self, old: str, new: str) -> None:
        """Bring index and files from one commit to another, or refuse and leave all as it is."""
        self.repo.try_git("update-index", "-q", "--refresh")
        for dry in (["-n"], []):
            code, _, trouble = self.repo.try_git("read-tree", *dry, "-m", "-u", old, new)
            if code:
                what = ", ".join(CLASH.findall(trouble)) or trouble.strip()
                raise WorkbenchError(
                    f"{what}: there is uncommitted work in the way.",
                    "Commit or stash it, then try again.",
                )

    def _free_name(self, title: str) -> str:
        slug = "-".join(re.findall(r"[a-z0-9]+", title.lower())[:6])[:48] or "change"
        names = [f"{PREFIX}{slug}", *(f"{PREFIX}{slug}-{n}" for n in range(2, 10_000))]
        return next(name for name in names if not self._tip(name))

    def _tip(self, branch: str) -> str:
        return self._tip_of(f"refs/heads/{branch}")

    def _tip_of(self, ref: str) -> str:
        return (
            self.repo.try_git("rev-parse", "--verify", "-q", f"{ref}^{{commit}}")[1]
            .decode()
            .strip()
        )

    def _trailers(self, commit: str) -> dict[str, str]:
        """What we wrote under a commit; {} for one that is not ours."""
        found = dict(TRAILER.findall(self.repo.git("log", "-1", "--format=%B", commit)))
        return found if {"Base", "Start", "Branch"} <= found.keys() else {}

    def _listed(self, span: str, state: str, limit: int) -> list[Listed]:
        form = "--format=%H%x1f%s%x1f%aI%x1f%B%x1e"
        out = self.repo.git("log", f"-n{limit}", "--grep=^Workbench-Branch: ", form, span)
        rows = (row.strip("\n").split("\x1f") for row in out.split("\x1e") if row.strip())
        return [
            Listed(sha, subject, date, dict(TRAILER.findall(body)).get("Model", ""), state)
            for sha, subject, date, body in rows
        ]


def _literal(path: str) -> str:
    """A path as a pathspec that means only itself."""
    return f":(literal){path}"


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())[:200]


def _title(title: str, changes: tuple[Change, ...]) -> str:
    """The commit's subject: one plain line."""
    line = _one_line(title)
    if not line:
        names = plural(len(changes), "file")
        line = f"{changes[0].action.title()} {changes[0].path if len(changes) == 1 else names}"
    return line if len(line) <= TITLE_CHARS else f"{line[: TITLE_CHARS - 1]}…"
