"""Answers and mechanical edits from an index of the repository, with no language model.

Knows nothing of git, libcst or pages. Invariants: any text gets an answer that ends with a Finish,
and every answer says that no language model wrote it.
"""

import asyncio
import difflib
import re
from collections.abc import AsyncIterator, Callable
from pathlib import PurePosixPath

from shapes import Finish, Library, Piece, Place, Prompt, Symbol, WorkbenchError, plural

QUESTION_CHARS = 4_000
EXTRACT_LINES, EXTRACT_COLUMNS, LISTED = 14, 160, 30
SIGNED = "*From the built-in engine: looked up in the source, not written by a language model.*"
ABILITIES = """Ask `where is NAME?`, `what is NAME?`, `who calls NAME?`, `what is in FILE?`,
`what does FILE import?`, `what changed lately?`, `history of FILE`, `which file …?`, `how do I …?`,
`list the files` (or functions, classes, methods, variables).

Or ask for an edit, as a diff to review (add `in FILE` to edit only that file):

- `rename the function OLD to NEW` (or class, method, variable)
- `remove unused imports`, `convert to f-strings`, `use X | Y types`
- `add a docstring to NAME: TEXT`

The rest needs a language model."""

Part = str | list[Symbol | Place]  # of an answer: Markdown, or places to list


class BuiltIn:
    """The Model that is always there (see shapes.Model)."""

    name = "built-in"
    digest = ""
    window_tokens = 1_000_000

    def __init__(
        self, library: Library, rewrite: Callable[..., tuple[str, list[str]]], app_name: str
    ) -> None:
        """`rewrite(kind, **arguments)` gives a diff and remarks, as in patches.codemods."""
        self._library, self._rewrite, self._app_name = library, rewrite, app_name

    async def stream(self, prompt: Prompt) -> AsyncIterator[Piece | Finish]:
        asked = [message.content for message in prompt.messages if message.role == "user"]
        parts = await asyncio.to_thread(self.answer, asked[-1] if asked else "")
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
        best: dict[str, Place] = {}
        for place in self._library.search(words, 40):
            best.setdefault(place.path, place)
        prose = () if plain.lower().startswith("how") else ".md"
        found = sorted(best.values(), key=lambda each: each.path.endswith(prose))[:6]
        title = "The best matches:" if found else "Nothing in this repository matches."
        return [*note, title, found, *map(extract, found[:3]), ABILITIES]

    def _symbols(self, name: str) -> list[Symbol]:
        """Definitions of that name, else those that differ in case alone."""
        found, low = self._library.symbols(name), name.lower()
        return found or [it for it in self._library.symbols() if it.name.lower() == low]

    def _path(self, name: str) -> str:
        """The file of that name, "" for ""; WorkbenchError, with near names, else."""
        if not name:
            return ""
        files, ends = self._library.files(), (f"/{name}", f"/{name.replace('.', '/')}.py")
        found = [path for path in files if f"/{path}".endswith(ends)]
        if found:
            return min(found, key=len)
        known = [*files, *(each.name for each in self._library.symbols())]
        near = ", ".join(map(short, difflib.get_close_matches(name, dict.fromkeys(known), 5)))
        raise WorkbenchError(
            f"There is no {short(name)} here.", f"Did you mean {near}?" if near else ""
        )

    def _extracts(self, found: list[Symbol | Place]) -> list[Part]:
        return [
            extract(place)
            for each in found[:3]
            for place in self._library.search(f"{each.path} {getattr(each, 'name', '')}", 100)
            if place.path == each.path and place.line <= each.line <= place.end_line
        ]

    def help(self) -> list[Part]:
        return [f"I am {self._app_name}, by way of the built-in engine.", ABILITIES]

    def what(self, name: str) -> list[Part]:
        symbols = self._symbols(name)
        if not symbols:
            return self.outline(name)
        return [symbols, *self._extracts(symbols), *self.uses(name)]

    def uses(self, name: str) -> list[Part]:
        symbols = self._symbols(name)
        word = symbols[0].name if symbols else PurePosixPath(name).name.removesuffix(".py")
        uses = self._library.references(word)
        found = uses or symbols or [start(self._path(name))]
        return [f"`{name}` is used in {plural(len(uses), 'place')}:", found]

    def imports(self, name: str) -> list[Part]:
        found = self._library.imports(self._path(name))
        return [f"`{name}` has {plural(len(found), 'import')}.", found]

    def outline(self, name: str) -> list[Part]:
        first = start(self._path(name))
        return [[first, *self._library.symbols(path=first.path)], *self._extracts([first])]

    def changes(self, name: str = "") -> list[Part]:
        files, commits = self._library.files(), self._library.log(10, self._path(name))
        lines = [f"- {each.date[:10]} {short(each.subject)}" for each in commits]
        touched = dict.fromkeys(path for each in commits for path in each.paths if path in files)
        return ["The last commits:", "\n".join(lines), list(map(start, touched))]

    def listing(self, things: str, name: str = "") -> list[Part]:
        symbols, things = self._library.symbols(path=self._path(name)), things.lower()
        found = [each for each in symbols if things.startswith(each.kind)]
        found = found if things != "files" else list(map(start, self._library.files()))
        return [f"{things.capitalize()}: {len(found)}", found]

    def _edit(self, kind: str, path: str, **arguments: str) -> list[Part]:
        title, path = kind.replace("_", " ").capitalize(), self._path(path)
        diff, remarks = self._rewrite(kind, path=path, **arguments)
        if not diff:
            return [f"{title}: there is nothing to change.", *remarks]
        hunks = re.findall(r"^\+\+\+ b/(.*)\n@@ -(\d+)", diff, re.M)
        first = [Place(path, int(line), int(line), "") for path, line in hunks]
        return [f"{title}, in {plural(len(hunks), 'file')}:", first, *remarks, fence(diff, "diff")]


def at(found: Symbol | Place) -> str:
    return f"{found.path}:{found.line}"


def start(path: str) -> Place:
    return Place(path, 1, 1, "")


def short(text: str) -> str:
    """The first line as code."""
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
# What a question says beside its phrase.
OPENING = "please|can|could|you|hi|hello|there|find|list|show|tell|me|about|explain|describe"
START = re.compile(rf"^((?:{OPENING})([,!.]? |$))+", re.I)
NOISE = re.compile(
    rf"(?<!\S)(?<!which )(?<!what )(?:(the|an?|all|{KIND}) |(lately|recently|please)$)", re.I
)
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
    "help": r"|help|what can you do|who are you|what(?: is|'s) your name",
    "changes": r"(?:what |has |been |is |what's |recent |latest |last |git )*"
    rf"(?:changed|new|changes|commits|history){IN}",
    "listing": rf"(?:which |what |are )*(files|functions|classes|methods|variables)(?: are there)?"
    rf"{IN}",
    "imports": rf"what does {N} import|imports of {N}",
    "uses": rf"(?:who|what|which \w+) (?:call|use|import)s? {N}"
    rf"|(?:callers|references|uses) (?:of|to) {N}|where is {N} (?:used|imported)",
    "outline": rf"what(?: is|'s) (?:in|inside) {N}|what does {N} contain"
    rf"|outline(?: of)? {N}",
    "what": rf"(?:(?:where|what)(?: is|'s)? |which \w+ defines )?{N}(?: is)?(?: for| defined)?"
    rf"|(?:what|how) does {N} (?:do|work)|definition of {N}",
}
