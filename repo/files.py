"""Files and history of one git repository, read through git and never changed here.

Knows nothing of models, pages or patches. Invariant: a repository's own configuration cannot make
a git command of ours run a program (hooks, fsmonitor and pagers are off; no prompt is shown).
"""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import git

from shapes import Commit, SourceFile, WorkbenchError

MAX_TEXT_BYTES = 2_000_000
SECRET_NAMES = (".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_ed25519*")
SECRET_NAMES += ("*.keystore", ".netrc", ".npmrc", ".pypirc", ".sesskey", "credentials*.json")
OPTIONS = ["core.hooksPath=/dev/null", "core.fsmonitor=false", "core.quotePath=false"]
OPTIONS += ["core.protectHFS=true", "core.protectNTFS=true", "protocol.allow=never"]
OPTIONS += ["commit.gpgSign=false", "log.showSignature=false", "diff.external=", "core.pager=cat"]
FIELD, RECORD = "\x1f", "\x1e"


class Repo:
    """A git repository with a working tree. Every path is relative to its root, with `/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = root.name

    @classmethod
    def open(cls, folder: Path) -> "Repo":
        """The repository that holds `folder`; WorkbenchError when there is none to read."""
        if not folder.is_dir():
            raise WorkbenchError(
                f"There is no folder {folder}.", "Give --repo the path of a git repository."
            )
        code, out, err = cls(folder.resolve()).try_git("rev-parse", "--show-toplevel")
        if code == 0 and out.strip():
            return cls(Path(os.fsdecode(out.rstrip(b"\n"))))
        if "dubious ownership" in err:
            raise WorkbenchError(
                f"Git does not trust {folder}: it belongs to another user.",
                f"If it is yours: git config --global --add safe.directory {folder.resolve()}",
            )
        raise WorkbenchError(
            f"{folder} is not inside a git repository with a working tree.",
            "Run git init and make a first commit there, or give --repo another folder.",
        )

    def try_git(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> tuple[int, bytes, str]:
        """Run git; returns its exit status, its output's bytes and its error text."""
        options = [part for option in OPTIONS for part in ("-c", option)]
        command = ["git", *options, *arguments]
        settings = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8"}
        with tempfile.TemporaryFile() as feed:
            feed.write(stdin or b"")
            feed.seek(0)
            code, out, err = git.Git(cwd or self.root).execute(
                command,
                istream=feed,
                with_extended_output=True,
                with_exceptions=False,
                stdout_as_string=False,
                strip_newline_in_stdout=False,
                env=settings | dict(env or {}),
            )
        return code, out, err if isinstance(err, str) else err.decode("utf-8", "replace")

    def git(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> str:
        """Run git and return its output as text; WorkbenchError with git's words on failure."""
        code, out, err = self.try_git(*arguments, stdin=stdin, env=env, cwd=cwd)
        if code:
            raise WorkbenchError(
                f"git {arguments[0]} failed: {err.strip() or f'exit status {code}'}",
                "Look at the repository with git status.",
            )
        return os.fsdecode(out)

    # -- files ---------------------------------------------------------------------------------

    def files(self) -> list[str]:
        """Every tracked file's path once, sorted; submodules are not files."""
        return sorted(self.modes())

    def modes(self) -> dict[str, str]:
        """Git's mode of every tracked file: 100644, 100755, or 120000 for a link."""
        out = self.git("ls-files", "-z", "--stage", "--cached")
        rows = (row.partition("\t") for row in out.split("\0") if row)
        return {path: head[:6] for head, _, path in rows if not head.startswith("160000")}

    def resolve(self, path: str) -> Path:
        """The file's place on disk. WorkbenchError for a path that leaves the repository, goes
        through a link, or lies in git's own folder."""
        parts = PurePosixPath(path).parts
        bad = not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path
        # git's own folder under every name that some file system takes for it
        if bad or any(part.lower().rstrip(". ") in (".git", "git~1") for part in parts):
            raise WorkbenchError(
                f"{path!r} is not a path inside the repository.",
                "Write it relative to the repository's root, as in src/app.py.",
            )
        place = self.root
        for part in parts:
            place = place / part
            if place.is_symlink():
                raise WorkbenchError(
                    f"{path!r} goes through a symbolic link.", "Name the real file instead."
                )
        return place

    def read(self, path: str) -> bytes:
        """The bytes of a file; WorkbenchError when it cannot be read."""
        try:
            return self.resolve(path).read_bytes()
        except OSError as error:
            raise WorkbenchError(
                f"{path} cannot be read: {error.strerror or error}.",
                "Check the name; git ls-files lists what is tracked.",
            ) from error

    def text(self, path: str) -> SourceFile | None:
        """A file as text, or None for one that is not to be shown: binary, over 2 MB, a link, a
        file that by its name holds secrets, or missing from disk."""
        if is_secret(path):
            return None
        try:
            place = self.resolve(path)
            if not place.is_file() or place.stat().st_size > MAX_TEXT_BYTES:
                return None
            data = place.read_bytes()
        except (WorkbenchError, OSError):
            return None
        if b"\0" in data[:8000]:  # git's own test for a binary file
            return None
        try:
            text, encoding = data.decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            text, encoding = data.decode("latin-1"), "latin-1"
        return SourceFile(path, text, encoding, blob_sha(data))

    def guarded(self, path: str) -> bool:
        """Whether a file is out of reach for edits: ignored by git, or named like a secret."""
        return is_secret(path) or self.try_git("check-ignore", "-q", "--", path)[0] == 0

    # -- history -------------------------------------------------------------------------------

    def head(self) -> str | None:
        """The commit that is checked out; None before the first commit."""
        code, out, _ = self.try_git("rev-parse", "--verify", "-q", "HEAD^{commit}")
        return out.decode().strip() if code == 0 else None

    def branch(self) -> str | None:
        """The branch that is checked out; None when HEAD is detached."""
        code, out, _ = self.try_git("symbolic-ref", "-q", "--short", "HEAD")
        return os.fsdecode(out).strip() if code == 0 else None

    def log(self, limit: int = 10, path: str = "") -> list[Commit]:
        """The newest commits first, of the whole repository or of one file."""
        if self.head() is None:
            return []
        form = RECORD + FIELD.join(("%H", "%aI", "%an", "%s")) + FIELD
        where = ["--", path] if path else []
        out = self.git(
            "log", f"-n{limit}", f"--format={form}", "--name-only", "-z", "--no-renames", *where
        )
        commits = []
        for record in out.split(RECORD)[1:]:
            sha, date, author, subject, paths = record.split(FIELD, 4)
            names = tuple(name.strip("\n") for name in paths.split("\0") if name.strip("\n"))
            commits.append(Commit(sha, date, author, subject, names))
        return commits

    def change_counts(self, limit: int = 500) -> Counter[str]:
        """How many of the newest `limit` commits touched each path."""
        return Counter(path for commit in self.log(limit) for path in commit.paths)


def is_secret(path: str) -> bool:
    """Whether the file's name says that it holds keys or passwords."""
    name = PurePosixPath(path.lower())
    return any(name.match(pattern) for pattern in SECRET_NAMES)


def blob_sha(data: bytes) -> str:
    """Git's blob id (SHA-1 of the header `blob <size>` NUL and the bytes)."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
