"""Files and history of one git repository, read through git and never changed here.

Knows nothing of models, pages or patches. Invariant: a repository's own configuration cannot make
a git command of ours run a program (hooks, fsmonitor and pagers are off).
"""

import fnmatch
import hashlib
import os
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import git

from shapes import Commit, SourceFile, WorkbenchError

if TYPE_CHECKING:
    from repo.symbols import Index

MAX_TEXT_BYTES = 2_000_000
SECRET_NAMES = (
    ".env .env.* *.pem *.key *.p12 *.pfx id_rsa* id_ed25519* *.keystore .netrc .npmrc .pypirc "
    ".sesskey credentials*.json"
).split()
SECRET = re.compile("|".join(map(fnmatch.translate, SECRET_NAMES)))
GENERATED = re.compile(
    r"(^|[/.-])(lock\.(json|yaml)|lock|min\.js|min\.css|map|svg)$"
    r"|(^|/)(_?vendor(ed)?|third_party|node_modules)/"
)
MADE = re.compile(r"(?i).*(auto-?generated|do not edit)|.{2000}")  # in a first line
OPTIONS = (
    "-c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.quotePath=false "
    "-c core.protectHFS=true -c protocol.allow=never -c log.showSignature=false -c diff.external="
).split()
SETTINGS = {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8"}


class Repo:
    """A git repository with a working tree. Every path is relative to its root, with `/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = root.name

    @classmethod
    def open(cls, folder: Path) -> "Repo":
        """The repository that holds `folder`."""
        if not folder.is_dir():
            raise WorkbenchError(f"There is no folder {folder}.", "Give --repo another path.")
        code, out, why = cls(folder.resolve()).try_git("rev-parse", "--show-toplevel")
        if code or not out.strip():
            why = why.partition("\n")[0]
            raise WorkbenchError(
                f"{folder} is not inside a git repository with a working tree ({why}).",
                "Run git init and make a first commit there, or give --repo another folder.",
            )
        return cls(Path(os.fsdecode(out.rstrip(b"\n"))))

    def try_git(
        self,
        *arguments: str,
        stdin: bytes = b"",
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> tuple[int, bytes, str]:
        """Git's exit status, its output's bytes and its error text."""
        command, env = ["git", *OPTIONS, *arguments], SETTINGS | (env or {})
        process = git.Git(self.root).execute(
            command, istream=PIPE, as_process=True, env=env, pass_fds=pass_fds
        )
        out, why = process.communicate(stdin)
        return process.returncode, out, why.decode(errors="replace")

    def git(self, *arguments: str, **how: Any) -> str:  # noqa: ANN401
        """The output of `try_git` as text; WorkbenchError when it fails."""
        code, out, why = self.try_git(*arguments, **how)
        if code:
            why = why.strip() or f"exit status {code}"
            raise WorkbenchError(f"git {arguments[0]} failed: {why}", "Look at git status.")
        return os.fsdecode(out)

    @cached_property
    def index(self) -> "Index":
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
        bad = any(re.fullmatch(r"\.\.|/+|\.git[. ]*(:.*)?|git~1", p, re.I) for p in parts)
        places = [self.root.joinpath(*parts[: n + 1]) for n in range(len(parts))]
        if bad or not parts or re.search(r"[\\\0]", path) or any(map(Path.is_symlink, places)):
            what = f"{path!r} is not a path inside the repository, or goes through a link."
            raise WorkbenchError(what, "Write it from the repository's root, as in src/app.py.")
        return places[-1]

    def text(self, path: str) -> SourceFile | None:
        """None for one that is binary, large, a link, by its name a secret, or missing."""
        try:
            place = self.resolve(path)
            small = place.is_file() and place.stat().st_size <= MAX_TEXT_BYTES  # a pipe never ends
            data = place.read_bytes() if small and not is_secret(path) else b"\0"
        except (WorkbenchError, OSError):
            return None
        if b"\0" in data[:8000]:  # git's own test for a binary file
            return None
        try:
            text, encoding = data.decode(), "utf-8"
        except UnicodeDecodeError:
            text, encoding = data.decode("latin-1"), "latin-1"
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
        return SourceFile(path, text, encoding, blob.hexdigest())

    def guarded(self, path: str) -> bool:
        """Whether edits may not touch it: ignored by git, or named like a secret."""
        return is_secret(path) or self.try_git("check-ignore", "-q", "--", f"./{path}")[0] != 1

    def object(self, name: str) -> str:
        """The id of what a name stands for; "" for nothing."""
        return self.try_git("rev-parse", "--verify", "-q", name)[1].decode().strip()

    def head(self) -> str:
        return self.object("HEAD^{commit}")

    def branch(self) -> str:
        """ "" for a detached HEAD."""
        return os.fsdecode(self.try_git("symbolic-ref", "-q", "--short", "HEAD")[1]).strip()

    def log(self, limit: int = 10, path: str = "") -> list[Commit]:
        """The newest commits first, perhaps of one file."""
        head = self.head()
        return [*self._log(head, limit, path)] if head else []

    @lru_cache(16)  # noqa: B019
    def _log(self, head: str, limit: int, path: str) -> list[Commit]:
        form = ["--format=%x1e%H%x1f%aI%x1f%s%x1f", "--name-only", "--no-renames", "-z"]
        out = self.git("log", f"-n{limit}", *form, head, "--", *filter(None, [path]))
        rows = (record.split("\x1f", 3) for record in out.split("\x1e")[1:])
        return [
            Commit(*facts, tuple(re.findall("[^\0]+", paths.strip("\0\n"))))
            for *facts, paths in rows
        ]


def is_secret(path: str) -> bool:
    return bool(SECRET.match(path.lower().rpartition("/")[2]))


def hidden(path: str, file: SourceFile | None) -> str:
    """Why the text of a file is not for showing; "" if it is."""
    if is_secret(path):
        return "secret"
    if GENERATED.search(path) or (file and MADE.match(file.text)):
        return "generated"
    return "" if file else "binary, large, a link or missing"
