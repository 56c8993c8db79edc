"""Moves tree, index, refs and HEAD of a repository as one step that a kill cannot halve.

Knows nothing of what is moved, or why. Invariant: once the lock has been had again, all of it is as
before the step, or all as after it; what is not of the step stays as it is.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from repo import Repo
from shapes import WorkbenchError, frozen

AS_STORED = ("-c", "core.autocrlf=false")


@frozen
class Move:
    """From what to what. A ref that is "" is none."""

    commits: tuple[str, str]
    branches: tuple[str, str]  # that HEAD names
    refs: dict[str, tuple[str, str]]


class Journal:
    """The right to move things, held by one process and by the git commands it runs for it."""

    mended = ""  # the commit to which a step that was cut short has been brought

    def __init__(self, repo: Repo, folder: Path, lock_fd: int) -> None:
        self.repo, self.folder, self.place = repo, folder, folder / "workbench.journal"
        self.held = {"pass_fds": (lock_fd,)}  # git outlives us by a moment, and so does the lock

    @classmethod
    @contextmanager
    def hold(cls, repo: Repo) -> Iterator["Journal"]:
        """Wait for the lock; finish, or take back, what was left half done."""
        folder = Path(repo.git("rev-parse", "--absolute-git-dir").rstrip("\n"))
        try:
            lock = (folder / "workbench.lock").open("w")
        except OSError as error:
            raise WorkbenchError(f"{folder} cannot be written.", str(error)) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            journal = cls(repo, folder, lock.fileno())
            if journal.place.exists():
                journal._settle()
            yield journal

    def move(self, move: Move) -> None:
        self._write(move, 0)
        checkout = *AS_STORED, "checkout", "-q", "--no-overwrite-ignore", "--detach"
        # ignored files count as the person's: git would overwrite them without a word
        code, _, trouble = self.repo.try_git(*checkout, move.commits[1], "--", **self.held)
        if paths := re.findall("^\t(.*)", trouble, re.M):  # then git has done nothing
            self.place.unlink()
            raise in_the_way(", ".join(paths))
        try:
            if code:
                raise WorkbenchError(f"git checkout failed: {trouble.strip()}", "Nothing is moved.")
            self._write(move, 1)
            self._move_refs(move.refs)
        except WorkbenchError:
            self._write(move, 0)
            self._settle()
            raise
        self._end(move.branches[1])

    def _write(self, move: Move, goal: int) -> None:
        fresh = self.place.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(move) | {"goal": goal}))
        fresh.replace(self.place)

    def _move_refs(self, refs: dict[str, tuple[str, str]]) -> None:
        """Each from what to what, compared and swapped."""
        none = "0" * len(self.repo.head())
        rows = (
            f"update {ref} {to or none} {was or none}\n"
            for ref, (was, to) in refs.items()
            if was != to
        )
        self.repo.git("update-ref", "--stdin", stdin=os.fsencode("".join(rows)), **self.held)

    def _end(self, branch: str) -> None:
        self.repo.git("symbolic-ref", "HEAD", f"refs/heads/{branch}", **self.held)
        self.place.unlink()

    def _settle(self) -> None:
        """Reach the journal's goal from wherever the step was cut short."""
        move = json.loads(self.place.read_text())
        goal, ends = move["goal"], move["commits"]
        here = self.repo.head() in ends and self.repo.branch() in ("", *move["branches"])
        if not here:  # the person has gone elsewhere, and cleared up on the way
            return self.place.unlink()
        common = Path(self.repo.root, self.repo.git("rev-parse", "--git-common-dir").rstrip("\n"))
        names = *(self.folder / name for name in ("index", "HEAD")), common / "packed-refs"
        for name in (*names, *(common / ref for ref in move["refs"])):
            lock = Path(f"{name}.lock")
            if lock.exists() and lock.stat().st_mtime_ns >= self.place.stat().st_mtime_ns:
                lock.unlink()  # an older one is somebody else's
        self._restore(ends[1 - goal], ends[goal])
        now = {ref: self.repo.object(ref) for ref in move["refs"]}
        refs = {ref: (now[ref], pair[goal]) for ref, pair in move["refs"].items()}
        self._move_refs({r: pair for r, pair in refs.items() if pair[0] in move["refs"][r]})
        self._end(move["branches"][goal])
        self.mended = ends[goal]

    def _restore(self, other: str, goal: str) -> None:
        """Index and files that are still as in `other`, or half written, become as in `goal`."""
        # git has refused the step when the index held other work there: then it refuses again
        self.repo.try_git("read-tree", "-i", "-m", other, goal, **self.held)
        rows = self.repo.git("diff-tree", "-r", "-z", "--no-renames", other, goal).split("\0")
        paths = []
        for about, path in zip(rows[::2], rows[1::2]):
            place, ids = Path(self.repo.root, path), about.split()[2:4]
            found = place.read_bytes() if place.is_file() else b""
            blobs = [self.repo.try_git("cat-file", "blob", sha)[1] for sha in ids]
            if place.is_symlink() or not any(blob.startswith(found) for blob in blobs):
                continue  # the person's
            if about.endswith("D"):
                place.unlink(missing_ok=True)
                with suppress(OSError):  # up to a folder that holds something else
                    for folder in place.parents:
                        folder.rmdir()
            else:
                paths.append(path)
        stdin = os.fsencode("\0".join(paths))
        self.repo.git(*AS_STORED, "checkout-index", "-fuz", "--stdin", stdin=stdin, **self.held)


def in_the_way(what: str) -> WorkbenchError:
    return WorkbenchError(f"{what}: there is uncommitted work in the way.", "Commit or move it.")
