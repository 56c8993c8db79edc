"""The frozen values that cross rooms, and the error class. Imports nothing of ours.

Lines are 1-based; paths are relative to the repository's root, with forward slashes.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

frozen = dataclass(frozen=True)


class WorkbenchError(Exception):
    """What happened, with the value, and what to do next."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.message, self.hint = message, hint


@frozen
class SourceFile:
    """A text file: `text.encode(encoding)` gives its bytes, line ends and all."""

    path: str
    text: str
    encoding: str
    sha: str  # git's blob id


@frozen
class Commit:
    sha: str
    date: str  # ISO 8601
    subject: str
    paths: tuple[str, ...]


@frozen
class Place:
    """Lines of a file that answer something: a definition, a use, a stretch of text."""

    path: str
    line: int
    text: str
    qualname: str = ""  # "Class.method": its own, or of what is around it; or a heading
    kind: Literal["", "class", "function", "method", "variable", "import"] = ""
    name: str = ""
    score: float = 0.0


@frozen
class PackedFile:
    path: str
    tokens: int
    form: Literal["full", "excerpt", "outline", "path"]
    reason: str


@frozen
class Pack:
    text: str
    total_tokens: int  # of `text` itself: the frame's and the files'
    budget_tokens: int
    encoding: str
    files: tuple[PackedFile, ...]
    frame_tokens: int


@frozen
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@frozen
class Prompt:
    messages: tuple[Message, ...]  # stable text first, the question last
    window_tokens: int  # prompt and reply together
    reply_tokens: int  # at most
    estimate_tokens: int  # our count of the messages


@frozen
class Piece:
    text: str
    kind: Literal["text", "thinking", "phase", "request"] = "text"  # request: its JSON, no messages


@frozen
class Finish:
    """How a reply ended. Counts are the model's own, if it gave them."""

    reason: Literal["stop", "length", "incomplete"]
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    cached_tokens: int | None = None
    note: str = ""  # for the person, when something is not as it should be
    sources: tuple[str, ...] = ()  # "path:line", where the model knows them itself


class Model(Protocol):
    name: str
    digest: str  # of the weights, "" for none
    window_tokens: int

    def stream(self, prompt: Prompt) -> AsyncIterator[Piece | Finish]:
        """Pieces, then one Finish; WorkbenchError when no reply can be had. Closing stops it."""
        ...


class Library(Protocol):
    """What can be looked up in a repository without a language model."""

    def files(self) -> list[str]: ...
    def symbols(self, name: str = "", path: str = "") -> list[Place]: ...
    def references(self, name: str) -> list[Place]: ...
    def search(self, words: str, limit: int = 5) -> list[Place]: ...
    def log(self, limit: int = 10, path: str = "") -> list[Commit]: ...


@frozen
class Change:
    """What one file becomes: the whole new text, None for a delete."""

    path: str
    action: Literal["modify", "create", "delete", "rename"]
    after: str | None
    before_sha: str | None = None  # git's blob id of what it was made from; None: create
    encoding: str = "utf-8"
    old_path: str | None = None  # of a rename
    mode: str = "100644"  # or 100755
    old_mode: str = "100644"


@frozen
class Note:
    """One finding about a patch: a badge with its evidence."""

    check: str  # one or two words
    ok: bool
    text: str


@frozen
class Verdict:
    ok: bool
    reason: str  # "" when ok; else what is wrong and what to do next
    changes: Sequence[Change] = ()
    notes: Sequence[Note] = ()
    diff: str = ""  # canonical: plain `git apply` takes it
    form: str = ""  # how the edit was written: "diff", "file", ...


@frozen
class Provenance:
    model: str = ""
    digest: str = ""
    discussion: str = ""


@frozen
class Applied:
    branch: str
    commit: str
    base: str  # the commit before


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
