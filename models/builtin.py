"""Answers and mechanical edits from an index of the repository.

Knows nothing of git, libcst or pages. Invariant: every answer says that no language model wrote it.
"""

import asyncio
import difflib
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path, PurePosixPath

from shapes import Finish, Library, Piece, Place, Prompt, Symbol, WorkbenchError, plural

QUESTION_CHARS = 4_000
EXTRACT_LINES, EXTRACT_COLUMNS, LISTED = 14, 160, 30
SIGNED = "*From the built-in engine: looked up in the source, not written by a language model.*"
ABILITIES = Path(__file__).with_name("abilities.md")

Part = str | list[Symbol | Place]  # of an answer: Markdown, or places to list


class BuiltIn:
    """The Model that is always there (see shapes.Model)."""

    name = "built-in"
    digest = ""
    window_tokens = 131_072

    def __init__(
        self, library: Library, rewrite: Callable[..., tuple[str, list[str]]], app_name: str
    ) -> None:
        """`rewrite(kind, **arguments)` gives a diff and remarks, as in patches.codemods."""
        self._library, self._rewrite, self._app_name = library, rewrite, app_name

    async def stream(self, prompt: Prompt) -> AsyncIterator[Piece | Finish]:
        parts = await asyncio.to_thread(self.answer, prompt.messages[-1].content)
        for part in [*parts, SIGNED]:
            yield Piece(f"{part if isinstance(part, str) else listed(part)}\n\n")
        places = (at(each) for part in parts if isinstance(part, list) for each in part)
        yield Finish("stop", sources=tuple(dict.fromkeys(places))[:LISTED])

    def answer(self, question: str) -> list[Part]:
        """What the first phrase that fits leads to, else what matches the words."""
        words = " ".join(question[:QUESTION_CHARS].replace("’", "'").split())
        plain = NOISE.sub("", START.sub("", words.rstrip(" ?.!"))).strip(" ,")
        note = []
        try:
            for kind, pattern in EDITS.items():
                text = words if kind == "docstring" else plain
                if match := re.fullmatch(pattern, text, re.I):
                    return self._edit(kind, **match.groupdict(""))
            for phrase, pattern in PHRASES.items():
                if match := re.fullmatch(pattern, plain, re.I):
                    return getattr(self, phrase)(*filter(None, match.groups()))
        except WorkbenchError as error:
            note = [str(error)]
        best = {it.path: it for it in reversed(self._library.search(words, 40))}
        prose = () if plain.lower().startswith("how") else ".md"
        found = sorted(best.values(), key=lambda it: (it.path.endswith(prose), -it.score))[:6]
        title = "The best matches:" if found else "Nothing in this repository matches."
        return [*note, title, found, *map(extract, found[:3]), ABILITIES.read_text()]

    def _path(self, name: str) -> str:
        """ "" for ""; WorkbenchError, with near names, for no file."""
        if not name:
            return ""
        files = self._library.files()
        found = [path for path in files if f"/{path}".endswith(f"/{name}")]
        if found:
            return min(found, key=len)
        known = [*files, *(each.name for each in self._library.symbols())]
        near = ", ".join(map(short, difflib.get_close_matches(name, dict.fromkeys(known), 5)))
        raise WorkbenchError(
            f"There is no {short(name)} here.", f"Did you mean {near}?" if near else ""
        )

    def help(self) -> list[Part]:
        return [f"I am {self._app_name}, by way of the built-in engine.", ABILITIES.read_text()]

    def what(self, name: str) -> list[Part]:
        symbols = self._library.symbols(name)
        if not symbols:
            return self.outline(name)
        names = {each.qualname for each in symbols}
        places = [it for it in self._library.search(name, 100) if it.inside in names]
        return [symbols, *map(extract, places[:3]), *self.uses(name)]

    def uses(self, name: str) -> list[Part]:
        uses = self._library.references(PurePosixPath(name.removesuffix(".py")).name)
        found = uses or self._library.symbols(name) or [start(self._path(name))]
        return [f"`{name}` is used in {plural(len(uses), 'place')}:", found]

    def outline(self, name: str) -> list[Part]:
        path = self._path(name)
        return [[start(path), *self._library.imports(path), *self._library.symbols(path=path)]]

    def changes(self, name: str = "") -> list[Part]:
        files, commits = self._library.files(), self._library.log(10, self._path(name))
        lines = [f"- {each.date[:10]} {short(each.subject)}" for each in commits]
        touched = dict.fromkeys(path for each in commits for path in each.paths if path in files)
        return ["The last commits:", "\n".join(lines), list(map(start, touched))]

    def _edit(self, kind: str, path: str, **arguments: str) -> list[Part]:
        named = " to ".join(map(short, arguments.values()))
        title = f"{kind.replace('_', ' ').capitalize()} {named}".strip()
        path = self._path(path)
        diff, remarks = self._rewrite(kind, path=path, **arguments)
        if not diff:
            return [f"{title}: there is nothing to change.", *remarks]
        files = re.findall(r"^\+\+\+ b/(.*)", diff, re.M)
        title += f", in {plural(len(files), 'file')}:"
        return [title, list(map(start, files)), *remarks, fence(diff, "diff")]


def at(found: Symbol | Place) -> str:
    return f"{found.path}:{found.line}"


def start(path: str) -> Place:
    return Place(path, 1, 1, "")


def short(text: str) -> str:
    line = text.strip().replace("`", "'").partition("\n")[0][:EXTRACT_COLUMNS]
    return f"`{line}`" if line else ""


def listed(found: list[Symbol | Place]) -> str:
    lines = []
    for each in found[:LISTED]:
        symbol = isinstance(each, Symbol)
        text, more = (each.signature, each.doc) if symbol else (each.text, each.inside)
        lines.append(f"- {at(each)} {short(text)} {' '.join(more.split())[:EXTRACT_COLUMNS]}")
    return "\n".join(lines + [f"- … and {len(found) - LISTED} more"] * (len(found) > LISTED))


def fence(text: str, language: str) -> str:
    """A code block whose fence is longer than any in it."""
    ticks = "`" * (1 + max(map(len, ["``", *re.findall("`+", text)])))
    return f"{ticks}{language}\n{text.removesuffix(chr(10))}\n{ticks}"


def extract(place: Place) -> str:
    lines = [line[:EXTRACT_COLUMNS] for line in place.text.split("\n")]
    text = "\n".join(lines[:EXTRACT_LINES] + ["…"] * (len(lines) > EXTRACT_LINES))
    return f"{at(place)}\n\n{fence(text, PurePosixPath(place.path).suffix[1:])}"


KIND = r"(?:function|class|method|variable|module|file)"


def named(group: str) -> str:
    """A pattern of a name, which can be quoted, dotted, called and followed by its kind."""
    return rf"[`'\"]?(?P<{group}>[\w./-]+)(?:\(\))?[`'\"]?(?: {KIND})?"


N = named("it").replace("?P<it>", "")
IN = rf"(?: (?:in|of|from|to) {named('path')})?"
START = re.compile(
    r"^((please|can|you|hi|hello|there|find|list|show|tell|me|about|explain|describe)([,!.]? |$))+",
    re.I,
)
NOISE = re.compile(rf"(?<!\S)(?<!which )(?:(the|an?|all|{KIND}) |lately$)", re.I)
CONVERT = r"(?:convert|change|use|write)\b.*\b"
EDITS = {
    "rename": rf"rename {named('old')} (?:to|as) {named('new')}{IN}",
    "unused_imports": rf"(?:remove|delete) unused imports{IN}",
    "fstrings": rf"{CONVERT}f-?strings?{IN}",
    "unions": rf"{CONVERT}X ?\| ?Y(?: types?)?{IN}",
    "docstring": r"(?:please )?(?:add|write|replace|set) (?:\w+ )?docstring \w+ "
    rf"(?:the |{KIND} )*{named('name')}(?: in {named('path')})?(?::| with) [`\"]*(?P<text>.+)",
}
PHRASES = {  # of methods
    "help": r"|help|what can you do|what(?: is|'s) your name",
    "changes": rf"(?:what |has |recent |latest )*(?:changed|changes|commits|history){IN}",
    "uses": rf"(?:who|what|which \w+) (?:call|use|import)s? {N}"
    rf"|(?:callers|references|uses) (?:of|to) {N}|where is {N} (?:used|imported)",
    "outline": rf"what(?: is|'s) in {N}|what does {N} (?:contain|import)|outline of {N}",
    "what": rf"(?:(?:where|what)(?: is|'s)? |which \w+ defines )?{N}(?: is)?(?: for| defined)?"
    rf"|(?:what|how) does {N} (?:do|work)",
}
