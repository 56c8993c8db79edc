"""The frozen values that cross rooms, and the error class. Imports nothing of ours.

Lines are 1-based and inclusive; paths are relative to the repository root, with forward slashes.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


class WorkbenchError(Exception):
    """Something a person can act on: what happened, with the value, and what to do next."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.message, self.hint = message, hint


@dataclass(frozen=True)
class SourceFile:
    """One text file as it is on disk: `text.encode(encoding)` gives its bytes back exactly."""

    path: str
    text: str  # line ends and a byte order mark are kept as they are
    encoding: str  # "utf-8", or "latin-1" where the bytes are not UTF-8
    sha: str  # git's blob id of the bytes


@dataclass(frozen=True)
class Commit:
    sha: str
    date: str  # ISO 8601
    author: str
    subject: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Symbol:
    name: str
    qualname: str  # "Class.method"
    kind: Literal["class", "function", "method", "variable"]
    path: str
    line: int
    end_line: int
    signature: str
    doc: str  # first paragraph of the docstring, "" when there is none


@dataclass(frozen=True)
class Place:
    """A span of a file that answers something."""

    path: str
    line: int
    end_line: int
    text: str
    inside: str = ""  # qualname of the enclosing definition, or a Markdown heading
    score: float = 0.0


@dataclass(frozen=True)
class PackedFile:
    path: str
    tokens: int
    form: Literal["full", "excerpt", "outline", "path"]


@dataclass(frozen=True)
class Pack:
    """What the model is told. `total_tokens` is counted on `text` itself."""

    text: str
    total_tokens: int
    budget_tokens: int
    encoding: str  # the tokenizer's name; starts with "estimate" when it is one
    files: tuple[PackedFile, ...]


@dataclass(frozen=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Prompt:
    """One request to a model: stable text first, the question last."""

    messages: tuple[Message, ...]
    window_tokens: int  # prompt and reply together; fixed per model, never per request
    reply_tokens: int  # at most this much is generated
    estimate_tokens: int  # our own count of the messages


@dataclass(frozen=True)
class Piece:
    """Something a model says while it works: words for the reader, or a phase to show."""

    text: str
    kind: Literal["text", "thinking", "phase"] = "text"


@dataclass(frozen=True)
class Finish:
    """How a reply ended. Counts are the model's own; None means that it did not say."""

    reason: Literal["stop", "length", "incomplete"]
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    cached_tokens: int | None = None
    note: str = ""  # one sentence for the person when something is not as it should be
    sources: tuple[str, ...] = ()  # "path:line", where the model knows them itself


class Model(Protocol):
    """Where words come from. Stopping means closing the iterator."""

    name: str
    digest: str  # identity of the weights, "" when there are none
    window_tokens: int

    def stream(self, prompt: Prompt) -> AsyncIterator[Piece | Finish]:
        """Pieces, then one Finish. Raises WorkbenchError when no reply can be had."""
        ...


class Library(Protocol):
    """What can be looked up in a repository without a language model."""

    def files(self) -> list[str]: ...
    def symbols(self, name: str = "", path: str = "") -> list[Symbol]: ...
    def references(self, name: str) -> list[Place]: ...
    def imports(self, path: str) -> list[Place]: ...
    def search(self, words: str, limit: int = 5) -> list[Place]: ...
    def log(self, limit: int = 10, path: str = "") -> list[Commit]: ...


@dataclass(frozen=True)
class Change:
    """What one file becomes. `after` is the whole new text, None for a delete."""

    path: str
    action: Literal["modify", "create", "delete", "rename"]
    after: str | None
    before_sha: str | None = None  # git's blob id of what `after` was made from; None: create
    encoding: str = "utf-8"
    old_path: str | None = None  # for a rename
    mode: str = "100644"  # git's: 100644 or 100755
    old_mode: str = "100644"


@dataclass(frozen=True)
class Note:
    """One finding about a patch: a badge with its evidence."""

    check: str  # one or two words: "parses", "placed"
    ok: bool
    text: str


@dataclass(frozen=True)
class Verdict:
    """Whether an edit can be applied, what it would make, and why not."""

    ok: bool
    reason: str  # "" when ok; else what is wrong and what to do next
    changes: Sequence[Change] = ()
    notes: Sequence[Note] = ()
    diff: str = ""  # canonical unified diff that plain `git apply` takes


@dataclass(frozen=True)
class Provenance:
    model: str = ""
    digest: str = ""
    discussion: str = ""


@dataclass(frozen=True)
class Applied:
    branch: str
    commit: str
    base: str  # the commit that it was made from


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
