"""Moves tree, index, refs and HEAD of a repository as one step that a kill cannot halve.

Knows nothing of what is moved, or why. Invariant: once the lock has been had again, all of it is as
before the step, or all as after it; what is not of the step stays as it is.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from repo import Repo
from shapes import WorkbenchError

Ends = tuple[str, str]  # from what to what; "" is none


class Journal:
    """The right to move things, held by one process and by the git commands it runs for it."""

    mended = ""  # the commit to which a step that was cut short has been brought

    def __init__(self, repo: Repo, folder: Path, lock_fd: int) -> None:
        self.repo, self.folder, self.place = repo, folder, folder / "workbench.journal"
        self.held = {"pass_fds": (lock_fd,)}  # git outlives us by a moment, and so does the lock

    @classmethod
    @contextmanager
    def hold(cls, repo: Repo) -> Iterator["Journal"]:
        """Wait for the lock; a step that was cut short is finished, if it had begun."""
        folder = Path(repo.git("rev-parse", "--absolute-git-dir").rstrip("\n"))
        try:
            lock = (folder / "workbench.lock").open("w")
        except OSError as error:
            raise WorkbenchError(f"{folder} cannot be written.", str(error)) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            journal = cls(repo, folder, lock.fileno())
            if journal.place.exists():
                journal._mend()
            yield journal

    def move(self, commits: Ends, branch: str, refs: dict[str, Ends]) -> None:
        """From a commit to another, on `branch`; refused where other work is in the way."""
        if (self.folder / "index.lock").exists():
            hint = "Wait until it ends; if there is none, remove .git/index.lock."
            raise WorkbenchError("Another git command is changing the repository.", hint)
        cached = "diff-index", "--cached", "--name-only", "-z", commits[0]
        staged = self.repo.git(*cached).split("\0")
        files = self._files(commits)
        if bad := [path for path, was, _ in files if path in staged or self._found(path) != was]:
            raise in_the_way(", ".join(bad))
        fresh = self.place.with_suffix(".new")
        fresh.write_text(json.dumps([commits, branch, refs]))
        fresh.replace(self.place)
        self._finish(commits, branch, refs)

    def _finish(self, commits: Ends, branch: str, refs: dict[str, Ends]) -> None:
        """Move the refs; then bring along the index, and every file that is not the person's
        since."""
        none = "0" * len(commits[0])
        moved = ((ref, to or none, was or none) for ref, (was, to) in refs.items() if was != to)
        lines = "".join(f"update {ref} {to} {was}\n" for ref, to, was in moved)
        try:
            self.repo.git("update-ref", "--stdin", stdin=os.fsencode(lines), **self.held)
        except WorkbenchError:
            self.place.unlink()
            raise
        self.repo.git("read-tree", "-i", "-m", *commits, **self.held)
        paths = []
        for path, was, to in self._files(commits):
            place, found = Path(self.repo.root, path), self._found(path)
            if found not in ("", was, to):  # perhaps half written
                blobs = (self.repo.try_git("cat-file", "blob", sha)[1] for sha in (was, to))
                if found == "?" or not any(b.startswith(place.read_bytes()) for b in blobs):
                    continue
            place.unlink(missing_ok=True)
            if to:
                paths.append(path)
            with suppress(OSError):  # up to a folder that holds something
                for folder in place.parents:
                    folder.rmdir()
        stdin = os.fsencode("\0".join(paths))
        command = "-c", "core.autocrlf=false", "checkout-index", "-uz", "--stdin"
        self.repo.git(*command, stdin=stdin, **self.held)
        self.repo.git("symbolic-ref", "HEAD", f"refs/heads/{branch}", **self.held)
        self.place.unlink()

    def _mend(self) -> None:
        commits, branch, refs = json.loads(self.place.read_text())
        common = Path(self.repo.root, self.repo.git("rev-parse", "--git-common-dir").rstrip("\n"))
        names = *(self.folder / name for name in ("index", "HEAD")), common / "packed-refs"
        for name in (*names, *(common / ref for ref in refs)):
            lock = Path(f"{name}.lock")
            if lock.exists() and lock.stat().st_mtime_ns >= self.place.stat().st_mtime_ns:
                lock.unlink()  # an older one is somebody else's
        now = {ref: self.repo.object(ref) for ref in refs}
        if self.repo.head() not in ("", *commits) or any(now[r] not in refs[r] for r in refs):
            return self.place.unlink()  # the person has gone on from there
        self._finish(commits, branch, {ref: (now[ref], to) for ref, (_, to) in refs.items()})
        self.mended = commits[1]

    def _files(self, commits: Ends) -> list[tuple[str, str, str]]:
        """Path, and blob id before and after, of all that differs."""
        rows = self.repo.git("diff-tree", "-r", "-z", "--no-renames", *commits).split("\0")
        ids = (about.split()[2:4] for about in rows[::2] if about)
        return [(path, *(x.strip("0") and x for x in pair)) for path, pair in zip(rows[1::2], ids)]

    def _found(self, path: str) -> str:
        """The blob id of what stands there; "" when nothing does."""
        try:
            self.repo.resolve(path).lstat()
        except FileNotFoundError:
            return ""
        except (OSError, WorkbenchError):  # below a file, or behind a link
            return "?"
        file = self.repo.text(path)
        return file.sha if file else "?"


def in_the_way(what: str) -> WorkbenchError:
    return WorkbenchError(f"{what}: there is uncommitted work in the way.", "Commit or move it.")
