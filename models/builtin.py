"""Answers and mechanical edits from an index of the repository.

Knows nothing of git, libcst or pages. Invariant: every answer says that no language model wrote it.
"""

import asyncio
import difflib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from shapes import Finish, Library, Piece, Place, Prompt, WorkbenchError, frozen, plural

QUESTION_CHARS = 4_000
EXTRACT_LINES, COLUMNS, LISTED = 14, 160, 30
SIGNED = "*Looked up in the source by the built-in engine, which is no language model.*"
ABILITIES = Path(__file__).with_name("abilities.md").read_text()

Part = str | list[Place]  # of an answer: Markdown, or places to list


@frozen
class BuiltIn:
    """The Model that is always there (see shapes.Model)."""

    name = "built-in"
    digest = ""
    window_tokens = 131_072

    library: Library
    rewrite: Callable[..., tuple[str, list[str]]]  # (kind, **arguments) to a diff and remarks
    app_name: str

    async def stream(self, prompt: Prompt) -> AsyncIterator[Piece | Finish]:
        parts = await asyncio.to_thread(self.answer, prompt.messages[-1].content)
        for part in [*parts, SIGNED]:
            yield Piece(f"{part if isinstance(part, str) else listed(part)}\n\n")
        places = (at(each) for part in parts if isinstance(part, list) for each in part)
        yield Finish("stop", sources=tuple(dict.fromkeys(places))[:LISTED])

    def answer(self, question: str) -> list[Part]:
        """What the first phrase that fits leads to, else what matches the words."""
        words = " ".join(question[:QUESTION_CHARS].split())
        plain, note = simple(words), []
        try:
            for kind, pattern in phrases():
                if match := re.fullmatch(pattern, plain, re.I):
                    return getattr(self, kind, partial(self._edit, kind))(**match.groupdict())
        except WorkbenchError as error:
            note = [str(error)]
        best = {it.path: it for it in reversed(self.library.search(words, 40))}
        prose = () if plain.lower().startswith("how") else ".md"
        found = sorted(best.values(), key=lambda it: (it.path.endswith(prose), -it.score))[:6]
        note.append("The best matches:" if found else "Nothing in this repository matches.")
        return [*note, found, *map(extract, found[:3]), ABILITIES]

    def _path(self, name: str, needed: bool = True) -> str:
        """The file, or "" where none is needed; else a WorkbenchError with near names."""
        files = self.library.files()
        found = [path for path in files if f"/{path}".endswith(f"/{name}")]
        if found or not (name and needed):
            return min(found, key=len, default="")
        known = [*files, *(each.name for each in self.library.symbols())]
        near = " or ".join(map(short, difflib.get_close_matches(name, {*known}, 5)))
        hint = f"Did you mean {near}?" if near else ""
        raise WorkbenchError(f"There is no {short(name)} here.", hint)

    def help(self) -> list[Part]:
        return [f"I am {self.app_name}, by way of the built-in engine.", ABILITIES]

    def what(self, name: str) -> list[Part]:
        """What defines a name, or what a file holds; and who uses it."""
        last = re.split("[./]", name.removesuffix(".py"))[-1]
        symbols = self.library.symbols(name) or self.library.symbols(last)
        uses = self.library.references(last)
        if path := self._path(name, needed=not (symbols or uses)):
            found = [[Place(path, 1, ""), *self.library.symbols(path=path)]]
            uses = [each for each in uses if "import" in each.text]
        else:
            names = {each.qualname for each in symbols}
            places = [it for it in self.library.search(name, 100) if it.qualname in names]
            found = [symbols, *map(extract, places[:3])]
        return [*found, f"`{name}` is used in {plural(len(uses), 'place')}:", uses]

    def changes(self, file: str = "") -> list[Part]:
        commits = self.library.log(10, self._path(file))
        lines = [f"- {each.date[:10]} {short(each.subject)}" for each in commits]
        touched = {path for each in commits for path in each.paths} & {*self.library.files()}
        return ["\n".join(lines), [Place(path, 1, "") for path in sorted(touched)]]

    def _edit(self, kind: str, file: str = "", **arguments: str) -> list[Part]:
        named = " to ".join(map(short, arguments.values()))
        title = f"{kind.replace('_', ' ').capitalize()} {named}".strip()
        diff, remarks = self.rewrite(kind, path=self._path(file), **arguments)
        if not diff:
            return [f"{title}: there is nothing to change.", *remarks]
        places = [Place(path, 1, "") for path in re.findall(r"^\+\+\+ b/(.*)", diff, re.M)]
        title += f", in {plural(len(places), 'file')}:"
        return [title, places, *remarks, fence(diff, "diff")]


def at(place: Place) -> str:
    return f"{place.path}:{place.line}"


def short(text: str) -> str:
    line = text.strip().replace("`", "'").partition("\n")[0][:COLUMNS]
    return f"`{line}`" if line else ""


def listed(places: list[Place]) -> str:
    lines = [f"- {at(it)} {short(it.text)} {it.qualname[:COLUMNS]}" for it in places[:LISTED]]
    return "\n".join(lines + [f"- … and {len(places) - LISTED} more"] * (len(places) > LISTED))


def fence(text: str, language: str) -> str:
    """A code block whose fence is longer than any in it."""
    ticks = "`" * (1 + max(map(len, ["``", *re.findall("`+", text)])))
    return f"{ticks}{language}\n{text.removesuffix(chr(10))}\n{ticks}"


def extract(place: Place) -> str:
    lines = [line[:COLUMNS] for line in place.text.split("\n")[:EXTRACT_LINES]]
    code = fence("\n".join(lines), PurePosixPath(place.path).suffix[1:])
    return f"{at(place)}\n\n{code}"


def simple(text: str) -> str:
    """A question in as few words as it needs; what comes after a colon or `with` stays."""
    head, *rest = re.split("(: | with )", text, maxsplit=1)
    for pattern, plain in SIMPLER.items():
        head = re.sub(pattern, plain, head, flags=re.I)
    return head.strip(" ,") + "".join(rest)


def phrases() -> Iterator[tuple[str, str]]:
    """What can be asked for, and a pattern of it: ABILITIES, line by line; the first that fits."""
    for kind, line in re.findall(r"^- ([\w ]+): (.*)", ABILITIES, re.M):
        for phrase in re.findall("`(.+?)`", line):
            pattern = re.escape(simple(phrase)).replace("…", ".+").replace("TEXT", TEXT)
            pattern = re.sub("NAME|OLD|NEW|FILE", lambda m: NAME % m[0].lower(), pattern)
            yield kind.replace(" ", "_"), pattern


KIND = "(?:function|class|method|variable|module|file)"
# quoted, dotted, called, or followed by its kind
NAME = rf"[`'\"]?(?P<%s>[\w./-]+)(?:\(\))?[`'\"]?(?: {KIND})?"
TEXT = r"[`\"]*(?P<text>.+)"
POLITE = "please|can|you|hi|hello|there|find|list|show|tell|me|about|explain|describe"
SIMPLER = {
    "[’']s ": " is ",
    "[ ,?.!]+$": "",
    rf"^(({POLITE})([,!.]? |$))+": "",
    rf"(?<!\S)(?<!which )(?:(the|an?|all|{KIND}) |lately$)": "",
    r"^(?:who|what|which \w+) (call|use|import|define)s?\b": r"who \1",
}
