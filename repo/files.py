"""Files and history of one git repository, read through git and never changed here.

Knows nothing of models, pages or patches. Invariant: a repository's own configuration cannot make
a git command of ours run a program (hooks, fsmonitor and pagers are off; no prompt is shown).
"""

import hashlib
import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import git

from shapes import Commit, Library, SourceFile, WorkbenchError

MAX_TEXT_BYTES = 2_000_000
SECRET_NAMES = (".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_ed25519*")
SECRET_NAMES += ("*.keystore", ".netrc", ".npmrc", ".pypirc", ".sesskey", "credentials*.json")
OPTIONS = ["core.hooksPath=/dev/null", "core.fsmonitor=false", "core.quotePath=false"]
OPTIONS += ["core.protectHFS=true", "core.protectNTFS=true", "protocol.allow=never"]
OPTIONS += ["commit.gpgSign=false", "log.showSignature=false", "diff.external=", "core.pager=cat"]


class Repo:
    """A git repository with a working tree. Every path is relative to its root, with `/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = root.name

    @classmethod
    def open(cls, folder: Path) -> "Repo":
        """The repository that holds `folder`; WorkbenchError when there is none to read."""
        if not folder.is_dir():
            raise WorkbenchError(f"There is no folder {folder}.", "Give --repo another path.")
        code, out, err = cls(folder.resolve()).try_git("rev-parse", "--show-toplevel")
        if code == 0 and out.strip():
            return cls(Path(os.fsdecode(out.rstrip(b"\n"))))
        why = err.strip().removeprefix("fatal: ").split("\n")[0]
        raise WorkbenchError(
            f"{folder} is not inside a git repository with a working tree ({why}).",
            "Run git init and make a first commit there, or give --repo another folder.",
        )

    def try_git(
        self,
        *arguments: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> tuple[int, bytes, str]:
        """Git's exit status, its output's bytes and its error text."""
        options = [part for option in OPTIONS for part in ("-c", option)]
        settings = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8"}
        with tempfile.TemporaryFile() as feed:
            feed.write(stdin)
            feed.seek(0)
            code, out, err = git.Git(cwd or self.root).execute(
                ["git", *options, *arguments],
                istream=feed,
                with_extended_output=True,
                with_exceptions=False,
                stdout_as_string=False,
                strip_newline_in_stdout=False,
                env=settings | dict(env or {}),
            )
        return code, out, err if isinstance(err, str) else err.decode("utf-8", "replace")

    def git(self, *arguments: str, **how: Any) -> str:  # noqa: ANN401
        """Run git as `try_git` does; its output as text, WorkbenchError when it fails."""
        code, out, err = self.try_git(*arguments, **how)
        if code:
            raise WorkbenchError(
                f"git {arguments[0]} failed: {err.strip() or f'exit status {code}'}",
                "Look at the repository with git status.",
            )
        return os.fsdecode(out)

    @cached_property
    def index(self) -> Library:
        """Reads again only what has changed."""
        from repo.symbols import Index

        return Index(self)

    def files(self) -> list[str]:
        return sorted(self.modes())

    def modes(self) -> dict[str, str]:
        """Git's mode of every tracked file: 100644, 100755, or 120000 for a link."""
        out = self.git("ls-files", "-z", "--stage", "--cached")
        rows = (row.partition("\t") for row in out.split("\0") if row)
        return {path: head[:6] for head, _, path in rows if not head.startswith("160000")}

    def resolve(self, path: str) -> Path:
        """The file's place on disk; WorkbenchError for one that no path may lead to."""
        parts = PurePosixPath(path).parts
        # git's own folder under every name that some file system takes for it
        bad = any(re.fullmatch(r"\.\.|/|\.git[. ]*(:.*)?|git~1", p, re.I) for p in parts)
        places = [self.root.joinpath(*parts[: n + 1]) for n in range(len(parts))]
        if bad or not parts or re.search(r"[\\\0]", path) or any(map(Path.is_symlink, places)):
            raise WorkbenchError(
                f"{path!r} is not a path inside the repository, or goes through a link.",
                "Write it relative to the repository's root, as in src/app.py.",
            )
        return places[-1]

    def text(self, path: str) -> SourceFile | None:
        """A file as text, or None: binary, over 2 MB, a link, by its name a secret, or missing."""
        if is_secret(path):
            return None
        try:
            place = self.resolve(path)
            fine = place.is_file() and place.stat().st_size <= MAX_TEXT_BYTES
            data = place.read_bytes() if fine else b"\0"  # a pipe never ends
        except (WorkbenchError, OSError):
            return None
        if b"\0" in data[:8000]:  # git's own test for a binary file
            return None
        try:
            text, encoding = data.decode(), "utf-8"
        except UnicodeDecodeError:
            text, encoding = data.decode("latin-1"), "latin-1"
        # git's blob id: SHA-1 of the header `blob <size>` NUL and the bytes
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
        return SourceFile(path, text, encoding, blob.hexdigest())

    def guarded(self, path: str) -> bool:
        """Whether a file is out of reach for edits: ignored by git, or named like a secret."""
        return is_secret(path) or self.try_git("check-ignore", "-q", "--", f"./{path}")[0] != 1

    def head(self) -> str | None:
        code, out, _ = self.try_git("rev-parse", "--verify", "-q", "HEAD^{commit}")
        return out.decode().strip() if code == 0 else None

    def branch(self) -> str | None:
        code, out, _ = self.try_git("symbolic-ref", "-q", "--short", "HEAD")
        return os.fsdecode(out).strip() if code == 0 else None

    def log(self, limit: int = 10, path: str = "") -> list[Commit]:
        """The newest commits first, perhaps of one file."""
        if self.head() is None:
            return []
        form = ["--format=%x1e%H%x1f%aI%x1f%an%x1f%s%x1f", "--name-only", "--no-renames", "-z"]
        out = self.git("log", f"-n{limit}", *form, *(["--", path] if path else []))
        commits = []
        for record in out.split("\x1e")[1:]:
            *facts, paths = record.split("\x1f", 4)
            names = (name.strip("\n") for name in paths.split("\0"))
            commits.append(Commit(*facts, tuple(filter(None, names))))
        return commits

    def change_counts(self, limit: int = 500) -> Counter[str]:
        return Counter(path for commit in self.log(limit) for path in commit.paths)


def is_secret(path: str) -> bool:
    name = PurePosixPath(path.lower())
    return any(name.match(pattern) for pattern in SECRET_NAMES)
