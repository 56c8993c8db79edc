"""Answers and mechanical edits from an index of the repository, with no language model.

Knows nothing of git, libcst or pages: it looks things up in a Library and hands edits to a
function. Invariants: any text gets an answer that ends with a Finish, and every answer says that no
language model wrote it.
"""

import asyncio
import difflib
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import PurePosixPath

from shapes import Finish, Library, Piece, Place, Prompt, Symbol, WorkbenchError, plural

QUESTION_CHARS = 4_000
EXTRACT_LINES, EXTRACT_COLUMNS, LISTED = 14, 160, 30
SIGNED = "*From the built-in engine: looked up in the source, not written by a language model.*"
ABILITIES = """Ask me

- `where is NAME?`, `what is NAME?`, `who calls NAME?`
- `what is in FILE?`, `what does FILE import?`, `who imports FILE?`
- `what changed lately?`, `which file …?`, `how do I …?`
- `list the files` (or functions, classes, methods, variables)

or for an edit, which comes as a diff to review:

- `rename the function OLD to NEW` (or a class, method, variable)
- `remove unused imports`, `convert to f-strings`, `use X | Y types`
- `add a docstring to NAME: TEXT`

Add `in FILE` to look at, or edit, a part. The rest needs a language model."""

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
        """What the first phrase that fits the question leads to, else what matches its words."""
        words = " ".join(question[:QUESTION_CHARS].replace("’", "'").split())
        plain = NOISE.sub("", START.sub("", words.rstrip(" ?.!"))).strip(" ,")
        note = []
        try:
            if match := DOCSTRING.fullmatch(words):
                return self.docstring(*match.groups(""))
            for name, pattern in PHRASES.items():
                if match := re.fullmatch(pattern, plain, re.IGNORECASE):
                    handler = getattr(self, name, partial(self.edit, kind=name))
                    return handler(*filter(None, match.groups()))
        except WorkbenchError as error:
            note = [str(error)]
        first = plain[:2].lower()
        found = self._matches(words, code_first=first == "wh")
        return [*note, *found, *([] if first in ("wh", "ho") else [ABILITIES])]

    def _symbols(self, name: str) -> list[Symbol]:
        """Definitions of that name, also in another case or after its module's name."""
        end, found = f".{name}".lower(), self._library.symbols(name)
        return found or [
            each
            for each in self._library.symbols()
            if f".{each.path[:-3].replace('/', '.')}.{each.qualname}".lower().endswith(end)
        ]

    def _path(self, name: str) -> str:
        """The file or folder of that name, or of that dotted module; "" for "".

        WorkbenchError, with names that are near, where there is none or more than one.
        """
        files, low = self._library.files(), name.lower().strip("/")
        folders = {str(folder) for path in files for folder in PurePosixPath(path).parents}
        dotted = low.replace(".", "/")
        found = [""]
        for end in (low, f"{low}.py", dotted, f"{dotted}.py") if low else ():
            found = [path for path in [*files, *folders] if f"/{path.lower()}".endswith(f"/{end}")]
            found = [path for path in found if path.lower() == end] or found
            if found:
                break
        if len(found) == 1:
            return found[0]
        known = {PurePosixPath(path).name.lower(): path for path in files}
        known |= {each.name.lower(): f"{at(each)} {each.name}" for each in self._library.symbols()}
        near = found or difflib.get_close_matches(PurePosixPath(low).name, known, 5, 0.7)
        offer = ", ".join(f"`{known.get(each, each)}`" for each in near[:5])
        raise WorkbenchError(
            f"There is {'more than one' if found else 'no'} {short(name)} here.",
            f"Did you mean {offer}?" if near else "",
        )

    def _extracts(self, found: list[Symbol | Place]) -> list[Part]:
        """The stretches of text around the first of these, as they are searched."""
        return [
            extract(place)
            for each in found[:3]
            for place in self._library.search(f"{each.path} {getattr(each, 'name', '')}", 100)
            if place.path == each.path and place.line <= each.line <= place.end_line
        ]

    def _matches(self, words: str, code_first: bool = False) -> list[Part]:
        """The best place of each of the best files, three of them with an extract."""
        best: dict[str, Place] = {}
        for place in self._library.search(words, 40):
            best.setdefault(place.path, place)
        found = sorted(best.values(), key=lambda each: code_first and each.path.endswith(".md"))[:6]
        if not found:
            return ["Nothing in this repository matches. Ask for `help` to see what I can do."]
        return ["The best matches:", found, *map(extract, found[:3])]

    def help(self) -> list[Part]:
        return [f"I am {self._app_name}, by way of the built-in engine.", ABILITIES]

    def what(self, name: str) -> list[Part]:
        symbols = self._symbols(name)
        if not symbols:
            return self.outline(name)
        uses = self._library.references(symbols[0].name)
        return [
            symbols,
            *self._extracts(symbols),
            f"Used in {plural(len(uses), 'place')}:",
            uses[:8],
        ]

    def uses(self, name: str) -> list[Part]:
        symbols = self._symbols(name)
        word = symbols[0].name if symbols else PurePosixPath(name).name.removesuffix(".py")
        uses = self._library.references(word)
        if not uses:
            return [f"Nothing here uses `{name}`.", symbols or [start(self._path(name))]]
        uses.sort(key=lambda each: each.text.startswith(("import ", "from ")))
        return [f"`{name}` is used in {plural(len(uses), 'place')}, imports last:", uses]

    def imports(self, name: str) -> list[Part]:
        found = self._library.imports(self._path(name))
        return [f"`{name}` has {plural(len(found), 'import')}.", found]

    def outline(self, name: str) -> list[Part]:
        path = self._path(name)
        inside = self._library.symbols(path=path)
        parts = [[start(path), *inside]] if inside else self.listing("files", path)
        return [*parts, *self._extracts(parts[-1][:1])]

    def changes(self, name: str = "") -> list[Part]:
        files, commits = self._library.files(), self._library.log(10, self._path(name))
        lines = [f"- {each.date[:10]} {each.sha[:9]} {short(each.subject)}" for each in commits]
        touched = dict.fromkeys(path for each in commits for path in each.paths if path in files)
        return ["The last commits:", "\n".join(lines), [start(path) for path in touched]]

    def listing(self, things: str, name: str = "") -> list[Part]:
        folder, things = self._path(name), things.lower()
        found = [start(path) for path in self._library.files()]
        if things != "files":
            symbols = self._library.symbols()
            found = [each for each in symbols if things.startswith(each.kind)]
        found = [it for it in found if not folder or f"{it.path}/".startswith(f"{folder}/")]
        return [f"{things.capitalize()}: {len(found)}", found]

    def rename(self, old: str, new: str, where: str = "") -> list[Part]:
        _ = self._symbols(old) or self._path(old)  # which offers names that are near
        return self.edit(where, "rename", old=old, new=new)

    def docstring(self, name: str, where: str, text: str) -> list[Part]:
        return self.edit(where, "docstring", name=name, text=text.strip('`"'))

    def edit(self, where: str = "", kind: str = "", **arguments: str) -> list[Part]:
        title, path = kind.replace("_", " ").capitalize(), self._path(where)
        try:
            diff, remarks = self._rewrite(kind, path=path, **arguments)
        except WorkbenchError as error:
            return [str(error)]
        if not diff:
            return [f"{title}: there is nothing to change.", *remarks]
        hunks = re.findall(r"^\+\+\+ b/(.*)\n@@ -(\d+)", diff, re.MULTILINE)
        first = [Place(path, int(line), int(line), "") for path, line in hunks]
        return [f"{title}, in {plural(len(hunks), 'file')}:", first, *remarks, fence(diff, "diff")]


def at(found: Symbol | Place) -> str:
    return f"{found.path}:{found.line}"


def start(path: str) -> Place:
    return Place(path, 1, 1, "")


def short(text: str) -> str:
    """The first line as code, cut where it is long."""
    line = text.replace("`", "'").partition("\n")[0][:EXTRACT_COLUMNS]
    return f"`{line}`" if line.strip() else ""


def listed(found: list[Symbol | Place]) -> str:
    lines = []
    for each in found[:LISTED]:
        symbol = isinstance(each, Symbol)
        text, more = (each.signature, each.doc) if symbol else (each.text, each.inside)
        lines.append(f"- {at(each)} {short(text)} {' '.join(more.split())}".rstrip())
    return "\n".join(lines + [f"- … and {len(found) - LISTED} more"] * (len(found) > LISTED))


def fence(text: str, language: str) -> str:
    """A code block whose fence is longer than any in it."""
    ticks = "`" * max(3, *(len(run) + 1 for run in ["", *re.findall("`+", text)]))
    return f"{ticks}{language}\n{text.removesuffix(chr(10))}\n{ticks}"


def extract(place: Place) -> str:
    lines = [line.rstrip("\r")[:EXTRACT_COLUMNS] for line in place.text.split("\n")]
    shown = lines[:EXTRACT_LINES] + ["…"] * (len(lines) > EXTRACT_LINES)
    return f"{at(place)}\n\n{fence(chr(10).join(shown), PurePosixPath(place.path).suffix[1:])}"


KIND = r"(?:function|class|method|variable|constant|module|file|folder)"
# A name can be quoted, dotted, called and followed by its kind.
N = rf"[`'\"]?([\w./-]+)(?:\(\))?[`'\"]?(?: {KIND})?"
IN = rf"(?: (?:in|of|from|for|to|across|under) {N})?"
# What a question says beside its phrase.
OPENING = "please|can|could|would|you|hey|hi|hello|there|thanks|ok|find|list|show|give|tell|me"
START = re.compile(rf"^((?:{OPENING}|about|explain|describe)([,!.]? |$))+", re.IGNORECASE)
HERE = "everywhere|here|in (?:the |this |whole )+(?:repository|repo|project|code)|lately|recently"
NOISE = re.compile(
    rf"(?<!\S)(?<!which )(?<!what )(?:(?:the|an?|all|our|{KIND}) |(?:{HERE}|please)(?: |$))",
    re.IGNORECASE,
)
DOCSTRING = re.compile(
    r"(?:please )?(?:add|write|replace|change|set) (?:(?:a|the) )?docstring (?:to|for|of) (?:the )?"
    rf"(?:{KIND} )?{N}(?: in {N})?(?::| with:?| as:?) (.+)",
    re.IGNORECASE,
)
CONVERT = r"(?:convert|change|turn|use|write)\b.*\b"
THINGS = "files|functions|classes|methods|variables"
PHRASES = {  # of each method of BuiltIn, and of each kind of edit
    "rename": rf"(?:rename|change name of) {N} (?:to|as|into) {N}{IN}",
    "unused_imports": rf"(?:remove|delete|drop|clean up) unused imports?{IN}",
    "fstrings": rf"{CONVERT}f-?strings?{IN}",
    "unions": rf"{CONVERT}X ?\| ?Y(?: types?)?{IN}",
    "help": r"|help|what can (?:you|i) (?:do|ask)|(?:who|what) are you|what(?: is|'s) your name",
    "changes": r"(?:what(?: has|'s| is)?(?: been)? |(?:recent |latest |last |git )+)?"
    rf"(?:changed|new|changes|commits|history|log){IN}",
    "listing": rf"(?:which |what are )?({THINGS})(?: are(?: there)?)?{IN}",
    "imports": rf"what (?:does|do) {N} import|imports of {N}",
    "uses": rf"(?:who|what|which \w+|where do \w+) (?:call|use|import)s? {N}"
    rf"|(?:callers|users|usages?|references|uses) (?:of|to) {N}"
    rf"|(?:where|how) (?:is|are) {N} (?:used|called|imported)",
    "outline": rf"what(?: is|'s|s) (?:in|inside) {N}|what (?:does|do) {N} (?:contain|define|have)"
    rf"|(?:outline|structure|contents?|summari[sz]e)(?: of)? {N}",
    "what": rf"(?:(?:where|what)(?: is| are|'s|s)? |which \w+ (?:defines|has) )?{N}"
    r"(?: is)?(?: for| defined| implemented)?"
    rf"|(?:what|how) does {N} (?:do|work|mean)|(?:definition|source|signature) of {N}",
}
