"""Packs a repository into one text for a model's window: who it is, the crash course, the tree,
the source.

Knows nothing of models or pages. Invariant: never over the budget, counted on the text itself.
What changes most stands last, because model servers reuse only an unchanged beginning.
"""

import platform
import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from context.tokens import count, encoding_name
from repo import Repo
from shapes import Pack, PackedFile, SourceFile

OWN_ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).parent
PROSE = {".md", ".rst", ".txt"}
# written by a tool, so not worth a window
GENERATED = re.compile(r"(^|[/.-])(lock\.(json|yaml)|lock|min\.js|min\.css|map|svg)$")
GENERATED_HEAD = re.compile(r"auto-?generated|@generated|do not edit", re.I)


@dataclass(frozen=True)
class Identity:
    assistant: str
    app: str
    model: str
    window_tokens: int


def pack(repo: Repo, budget_tokens: int, identity: Identity, question: str = "") -> Pack:
    """Everything that fits of `repo`: files in full or, where the budget ends, their path alone.
    With a question, the files that its words hit are the first to be chosen."""
    paths, changes = repo.files(), repo.change_counts()
    parts = [_identity(repo, identity)]
    if repo.root == OWN_ROOT:
        parts.append((HERE / "crash_course.md").read_text())
    parts.append(
        "# Files\n\nEvery tracked file, by path:\n\n" + "\n".join(map(_shown, paths)) + "\n"
    )
    foot = count(_foot(budget_tokens, budget_tokens))
    head = _cut("\n\n".join(parts), budget_tokens - foot)

    chosen: dict[str, tuple[str, int]] = {}
    room = budget_tokens - count(head) - foot
    for path in _by_worth(repo, paths, changes, question):
        file = repo.text(path)
        if file and not _generated(file):
            block = _block(file)
            size = count(block) + 1  # a joint between blocks can cost a token
            if size <= room:
                chosen[path], room = (block, size), room - size
    order = sorted(chosen, key=lambda path: (changes[path], path))
    text = _with_foot(head + "".join(chosen[path][0] for path in order), budget_tokens)
    text = _cut(text, budget_tokens)  # counted again, on the text itself
    files = []
    for path in paths:
        form, size = ("full", chosen[path][1]) if path in chosen else ("path", count(path))
        files.append(PackedFile(_shown(path), size, form))
    return Pack(text, count(text), budget_tokens, encoding_name(), tuple(files))


def _identity(repo: Repo, identity: Identity) -> str:
    return (
        f"You are {identity.assistant}, the assistant inside {identity.app}, a local web page on "
        f"this person's own machine ({platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}). Your model is {identity.model}; your window holds "
        f"{identity.window_tokens:,} tokens. The repository before you is {repo.name}.\n\n"
        + (HERE / "editing.md").read_text()
    )


def _by_worth(repo: Repo, paths: list[str], changes: Counter[str], question: str) -> list[str]:
    hits = [place.path for place in repo.index.search(question, 20)] if question else []

    def key(path: str) -> tuple[int, int, int, str]:
        low = path.lower()
        rank = PurePosixPath(low).suffix in PROSE and not low.startswith("readme")
        rank += 2 * any("test" in part or "bench" in part for part in low.split("/"))
        return hits.index(path) if path in hits else len(hits), rank, -changes[path], path

    return sorted(paths, key=key)


def _generated(file: SourceFile) -> bool:
    head = "\n".join(file.text[:600].split("\n")[:3])
    return bool(GENERATED.search(file.path) or GENERATED_HEAD.search(head))


def _shown(path: str) -> str:
    """The path as text that can be encoded, on one line."""
    return path.encode("utf-8", "replace").decode().replace("\n", "\\n")


def _block(file: SourceFile) -> str:
    end = "" if file.text.endswith("\n") else "\n"
    return f"\n===== {_shown(file.path)} =====\n{file.text}{end}"


def _foot(used: int, budget: int) -> str:
    return f"\n===== window: {used:,} of {budget:,} tokens used, {budget - used:,} free =====\n"


def _with_foot(text: str, budget: int) -> str:
    """`text` and a last line that tells the size of the whole, itself included: counted again
    until the figure stays. Where two figures of other lengths take turns, one more line ends it."""
    used = count(text)
    for _ in range(4):
        whole = text + _foot(used, budget)
        if count(whole) == used:
            return whole
        used = count(whole)
    return _with_foot(text + "\n", budget)


def _cut(text: str, budget: int) -> str:
    """The longest run of whole lines from the start that fits."""
    if count(text) <= budget:
        return text
    lines = text.splitlines(keepends=True)
    keep = bisect_right(range(len(lines)), budget, key=lambda n: count("".join(lines[: n + 1])))
    return "".join(lines[:keep])
