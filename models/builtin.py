"""Answers and mechanical edits from an index of the repository, with no language model.

Knows nothing of git, libcst or pages: it looks things up in a Library and hands edits to a
function. Invariants: any text gets an answer that ends with a Finish, and every answer says that no
language model wrote it.
"""

import asyncio
import difflib
import re
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from shapes import Finish, Library, Piece, Place, Prompt, Symbol, WorkbenchError, plural

QUESTION_CHARS = 4_000
EXTRACT_LINES, EXTRACT_COLUMNS, LISTED = 14, 160, 30
LANGUAGES = {".py": "python", ".md": "markdown", ".js": "javascript", ".sh": "bash"}
SIGNED = "*From the built-in engine: looked up in the source, not written by a language model.*"
ABILITIES = """Ask me

- `where is NAME?`, `what is NAME?`, `who calls NAME?`
- `what is in FILE?`, `what does FILE import?`, `who imports FILE?`
- `what changed lately?`, `history of FILE`
- `which file …?`, `how do I …?`
- `list the files` (or rooms, classes, functions), also `in FOLDER`

or for an edit, which comes as a diff to review:

- `rename the function OLD to NEW` (or a class, a method, a module's variable)
- `remove unused imports`, `convert to f-strings`, `use X | Y types`, also `in FILE`
- `add a docstring to NAME: TEXT`

The rest needs a language model, such as one under Ollama."""


class Answer(NamedTuple):
    blocks: list[str]  # of Markdown
    sources: tuple[str, ...] = ()


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
        answer = await asyncio.to_thread(self.answer, asked[-1] if asked else "")
        for block in [*answer.blocks, SIGNED]:
            yield Piece(f"{block}\n\n")
        yield Finish("stop", sources=answer.sources)

    def answer(self, question: str) -> Answer:
        """By the first intent that fits the whole question and has something to say."""
        words = " ".join(question[:QUESTION_CHARS].replace("’", "'").split())
        try:
            for pattern, handler in INTENTS:
                if match := pattern.fullmatch(words):
                    parts = [
                        part if " " in part else part.strip("`'\",;:/.()")
                        for part in match.groups("")
                    ]
                    if answer := handler(self, *parts):
                        return answer
            found = self._matches(words)
            return found._replace(blocks=[*found.blocks, ABILITIES])
        except WorkbenchError as error:
            return Answer([f"{error.message} {error.hint}"])

    # -- looking things up ---------------------------------------------------------------------

    def _symbols(self, name: str) -> list[Symbol]:
        """Definitions of that name, in whatever case when there is none in this."""
        low, everything = f".{name.lower()}", self._library.symbols
        in_any_case = (each for each in everything() if f".{each.qualname.lower()}".endswith(low))
        return name and (everything(name) or list(in_any_case))

    def _paths(self, name: str) -> list[str]:
        """The file of that name, or the folder's files; it may be written as a dotted module."""
        files, low = self._library.files(), name.lower()
        dotted = low.replace(".", "/")
        for end in (low, f"{low}.py", f"{dotted}.py"):
            found = [path for path in files if f"/{path.lower()}".endswith(f"/{end}")]
            if found:
                return [path for path in found if path.lower() == end] or found
        return [path for path in files if path.lower().startswith(f"{dotted}/")]

    def _folder(self, name: str) -> str:
        """The one file or folder of that name, "" for everywhere; WorkbenchError if there is
        none."""
        paths = [] if name.lower() in EVERYWHERE else self._paths(name)
        if len(paths) < 2 and (paths or name.lower() in EVERYWHERE):
            return "".join(paths)
        if paths and all(within(path, name) for path in paths):
            return name
        near = paths or difflib.get_close_matches(name, self._library.files(), 5, 0.4)
        raise WorkbenchError(
            f"`{name}` is {'more than one' if paths else 'no'} file here.",
            f"Did you mean {', '.join(near[:5])}?" if near else "Ask me to list the files.",
        )

    def _unit(self, path: str, line: int, words: str = "") -> Place | None:
        """The stretch of a file around a line, as it is searched."""
        found = self._library.search(f"{words} {path}", 100)
        return next((p for p in found if p.path == path and p.line <= line <= p.end_line), None)

    def _matches(self, words: str, code_first: bool = False) -> Answer:
        """The best place of each of the best files, three of them with an extract."""
        best: dict[str, Place] = {}
        for place in self._library.search(words, 40):
            best.setdefault(place.path, place)
        found = sorted(best.values(), key=lambda each: code_first and each.path.endswith(".md"))[:6]
        if not found:
            return Answer(["Nothing in this repository matches."])
        blocks = [bullets(f"{at(each)} {code(each.inside)}" for each in found)]
        return Answer(["The best matches:", *blocks, *map(extract, found[:3])], sources(found))

    def _unknown(self, name: str) -> Answer | None:
        """Near names, where there are some; then what matches the word."""
        known = {PurePosixPath(path).name.lower(): path for path in self._library.files()}
        for each in self._library.symbols():
            known[each.name.lower()] = f"`{each.qualname}` at {at(each)}"
        near = difflib.get_close_matches(name.lower(), known, 5, 0.7)
        found = self._matches(name)
        offer = (
            f"There is no `{name}` here. Did you mean\n\n{bullets(known[each] for each in near)}"
        )
        return Answer([offer, *found.blocks], found.sources) if near else None

    # -- questions -----------------------------------------------------------------------------

    def help(self) -> Answer:
        return Answer([f"I am {self._app_name}, by way of the built-in engine.", ABILITIES])

    def what(self, name: str) -> Answer | None:
        symbols, uses = self._symbols(name), self._library.references(name)
        if not symbols:
            return self.outline(name)
        lines = [f"`{each.qualname}` ({each.kind}): {at(each)} {each.doc}" for each in symbols]
        units = [self._unit(each.path, each.line, each.name) for each in symbols[:3]]
        used = f"Used in {plural(len(uses), 'place')}: "
        blocks = [bullets(lines), *(extract(unit) for unit in units if unit)]
        return Answer(
            [*blocks, used + ", ".join(map(at, uses[:8]))], sources([*symbols, *uses[:8]])
        )

    def uses(self, name: str) -> Answer | None:
        path = PurePosixPath(name)
        word = path.parent.name if path.stem == "__init__" else path.name.removesuffix(".py")
        uses, symbols = self._library.references(word), self._symbols(name)
        if not uses:
            spots = ", ".join(map(at, symbols))
            unused = Answer([f"Nothing here uses `{name}`, defined at {spots}."], sources(symbols))
            return unused if symbols else self._unknown(name)
        imports = [each for each in uses if each.text.startswith(("import ", "from "))]
        calls = [each for each in uses if each not in imports]
        blocks = []
        for title, found in (("used", calls), ("imported", imports)):
            if found:
                lines = (f"{at(each)} {code(each.inside)}: {code(each.text)}" for each in found)
                blocks.append(f"`{name}` is {title} in {plural(len(found), 'place')}:")
                blocks.append(bullets(lines))
        return Answer(blocks, sources([*calls, *imports]))

    def imports(self, name: str) -> Answer | None:
        found = [
            each for path in self._paths(name)[:LISTED] for each in self._library.imports(path)
        ]
        lines = [f"{at(each)}: {code(each.text)}" for each in found]
        title = f"`{name}` has {plural(len(found), 'import')}."
        return Answer([title, bullets(lines)], sources(found)) if found else self._unknown(name)

    def outline(self, name: str) -> Answer | None:
        paths = self._paths(name)
        if not paths:
            return self._unknown(name)
        unit = self._unit(paths[0], 1)
        head = [extract(unit)] if unit else []
        if len(paths) > 1:
            listed = self.listing("files", name)
            return listed._replace(blocks=[*listed.blocks, *head])
        symbols = self._library.symbols("", paths[0])
        lines = [f"{code(each.signature)} {at(each)}" for each in symbols]
        blocks = [f"{paths[0]}:1", bullets(lines), *head]
        return Answer(blocks, (f"{paths[0]}:1", *sources(symbols)))

    def changes(self, name: str = "") -> Answer:
        path, files = self._folder(name), set(self._library.files())
        commits, lines, touched = self._library.log(10, path), [], {}
        for each in commits:
            spots = [f"{path}:1" if path in files else path for path in each.paths]
            touched |= dict.fromkeys(spot for spot in spots if spot.endswith(":1"))
            lines.append(f"{each.date[:10]} {each.sha[:9]} {each.subject}: {', '.join(spots[:4])}")
        title = f"The last {plural(len(commits), 'commit')}{f' of {path}' if path else ''}:"
        return Answer([title, bullets(lines)], tuple(touched)[:LISTED])

    def listing(self, what: str, name: str = "") -> Answer:
        folder, what = self._folder(name), what.lower()
        paths = [path for path in self._library.files() if within(path, folder)]
        if what in ("rooms", "folders"):
            rooms = {path.partition("/")[0] for path in paths if "/" in path}
            return Answer([bullets(sorted(rooms))])
        if what in ("files", "modules"):
            spots = [f"{path}:1" for path in paths]
            return Answer([f"{plural(len(paths), 'file')}:", bullets(spots)], tuple(spots[:LISTED]))
        kind = "class" if what == "classes" else what.removesuffix("s")
        symbols = [each for each in self._library.symbols() if each.kind.startswith(kind)]
        found = [each for each in symbols if within(each.path, folder)]
        lines = [f"`{each.qualname}` {at(each)}" for each in found]
        return Answer([f"{len(found)} {what}:", bullets(lines)], sources(found))

    def which(self, words: str) -> Answer:
        return self._matches(words, code_first=True)

    def how(self, words: str) -> Answer:
        return self._matches(words)

    # -- edits ---------------------------------------------------------------------------------

    def rename(self, old: str, new: str, name: str) -> Answer | None:
        if not self._library.symbols(old) and (unknown := self._unknown(old)):
            return unknown
        return self._edit(f"Renames `{old}` to `{new}`", "rename", name, old=old, new=new)

    def unused_imports(self, name: str) -> Answer:
        return self._edit("Removes unused imports", "unused_imports", name)

    def fstrings(self, name: str) -> Answer:
        return self._edit("Writes f-strings", "fstrings", name)

    def unions(self, name: str) -> Answer:
        return self._edit("Writes types as `X | Y`", "unions", name)

    def docstring(self, name: str, where: str, text: str) -> Answer:
        title = f"Gives `{name}` its docstring"
        return self._edit(title, "docstring", where, name=name, text=text.strip('`"'))

    def _edit(self, title: str, kind: str, where: str, /, **arguments: str) -> Answer:
        diff, remarks = self._rewrite(kind, path=self._folder(where), **arguments)
        added = "\n".join(re.findall(r"^\+(?!\+\+ b/)(.*)", diff, re.MULTILINE))
        files = re.findall(r"^\+\+\+ b/(.*)\n@@ -(\d+)", diff, re.MULTILINE)
        word = rf"\b{re.escape(arguments['new'])}\b" if kind == "rename" else "^"
        places = len(re.findall(word, added, re.MULTILINE))
        if not diff:
            return Answer([f"{title}: there is nothing to change.", *remarks])
        count = f"{plural(places, 'place')} in {plural(len(files), 'file')}"
        return Answer(
            [f"{title}: {count}.", *remarks, fence(diff, "diff")], tuple(map(":".join, files))
        )


# -- Markdown ------------------------------------------------------------------------------------


def at(found: Symbol | Place) -> str:
    return f"{found.path}:{found.line}"


def sources(found: Iterable[Symbol | Place]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(at, found)))[:LISTED]


def within(path: str, folder: str) -> bool:
    return not folder or f"{path}/".startswith(f"{folder}/")


def code(text: str) -> str:
    short = text.replace("`", "'")[:EXTRACT_COLUMNS]
    return f"`{short}`" if short else ""


def bullets(lines: Iterable[str]) -> str:
    lines = list(lines)
    more = [f"… and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return "\n".join(f"- {line}" for line in lines[:LISTED] + more)


def fence(text: str, language: str) -> str:
    """A code block whose fence is longer than any in it."""
    ticks = "`" * max(3, *(len(run) + 1 for run in ["", *re.findall("`+", text)]))
    return f"{ticks}{language}\n{text.removesuffix(chr(10))}\n{ticks}"


def extract(place: Place) -> str:
    lines = [line.rstrip("\r")[:EXTRACT_COLUMNS] for line in place.text.split("\n")]
    shown = lines[:EXTRACT_LINES] + ["…"] * (len(lines) > EXTRACT_LINES)
    suffix = PurePosixPath(place.path).suffix
    return f"{at(place)}\n\n{fence(chr(10).join(shown), LANGUAGES.get(suffix, suffix[1:]))}"


# -- intents -------------------------------------------------------------------------------------

KIND = r"(?:function|class|method|variable|constant|module|file|room|folder)"
# A name can be quoted, dotted, called and said with its kind; several words are no name.
X = rf"(?:the |a |an |our |your )?(?:{KIND} )?([`'\"]?[\w./-]+(?:\(\))?[`'\"]?)(?: {KIND})?"
IN = rf"(?: (?:in|of|from|for|to|across|under) (?:the )?(?:{KIND} )?(\S+?)| everywhere)?"
THINGS = r"(files|modules|rooms|folders|symbols|functions|classes|methods|variables)"
POLITE = r"(?:(?:please|can you|could you|would you|hey|hi|hello|chip|now|ok|show me),? )*"
EVERYWHERE = {"", "all", "everywhere", "here", "repository", "repo", "project", "code", "files"}

PHRASES: list[tuple] = [
    (
        BuiltIn.rename,
        rf"(?:rename|change the name of) (?:the )?(?:{KIND} )?(\S+) (?:to|as) (\S+?){IN}",
    ),
    (
        BuiltIn.unused_imports,
        rf"(?:remove|delete|drop|clean up) (?:all |the )*unused imports?{IN}",
    ),
    (BuiltIn.fstrings, rf"(?:convert|change|turn|use|write)\b.{{0,60}}\bf-?strings?{IN}"),
    (
        BuiltIn.unions,
        rf"(?:use|write|convert|change)\b.{{0,60}}\bX ?\| ?Y\b(?: types?| type hints?)?{IN}",
        rf"moderni[sz]e (?:the |all )*type (?:hints|annotations){IN}",
    ),
    (
        BuiltIn.docstring,
        rf"(?:add|write|replace|change|set) (?:a |the )?docstring (?:to|for|of) {X}"
        r"(?: in (\S+?))?(?::| with:?| as:?) (.+)",
    ),
    (
        BuiltIn.help,
        r"(?:hi|hello|hey|thanks|thank you|help|help me)(?: there| chip)?",
        r"what can (?:you|i) (?:do|ask)(?: here| for me)?|(?:who|what) are you",
        r"what(?: is|'s) your name",
    ),
    (
        BuiltIn.changes,
        rf"what(?: has|'s)? (?:been )?changed(?: lately| recently)?{IN}(?: lately| recently)?",
        rf"(?:what are |list )?(?:the )?(?:recent|latest|last) (?:changes|commits){IN}",
        rf"(?:the )?(?:git )?(?:history|log){IN}",
        rf"what(?: is|'s) new{IN}",
    ),
    (
        BuiltIn.listing,
        rf"(?:list|show|what are)(?: all| the| your| our)* {THINGS}{IN}",
        rf"(?:what|which) {THINGS} (?:are there|do you have|exist|are){IN}",
    ),
    (
        BuiltIn.imports,
        rf"what (?:does|do) {X} import(?: from)?",
        rf"(?:what are |list |show )?(?:the )?(?:imports|dependencies) (?:of|in) {X}",
    ),
    (
        BuiltIn.uses,
        rf"(?:who|what|which (?:functions?|files?|modules?|code)) (?:calls?|uses?|imports?) {X}",
        rf"(?:find |list )?(?:all |the )*(?:callers|users|usages|references|uses) (?:of|to) {X}",
        rf"(?:where|how) (?:is|are) {X} (?:used|called|referenced|imported)",
        rf"where do (?:we|you|i) (?:use|call|import) {X}",
    ),
    (
        BuiltIn.outline,
        rf"what(?: is|'s|s) (?:in|inside) {X}",
        rf"(?:the |an )?(?:outline|structure|contents?)(?: of)? {X}",
        rf"what (?:does|do) {X} (?:contain|define|have|hold)",
        rf"(?:outline|summari[sz]e) {X}",
    ),
    (
        BuiltIn.what,
        rf"where(?: is|'s| are| can i find) {X}(?: defined| declared| implemented)?",
        rf"(?:find|locate|explain|describe|show|tell me about|about) {X}",
        rf"(?:the )?(?:definition|source|code|signature|docstring) (?:of|for) {X}",
        rf"(?:which|what) file (?:defines|contains|has) {X}",
        rf"what(?: is|'s| are|s) {X}(?: for)?",
        rf"(?:what|how) (?:does|do) {X} (?:do|work|mean)",
        r"([`'\"]?[\w.]+(?:\(\))?[`'\"]?)",
    ),
    (
        BuiltIn.which,
        rf"(?:which|what) (?:{KIND}|part|place|code)s? (.+)",
        r"(?:where|who) (?:is |are |do |does |did |can |should )?(.+)",
        r"what (\w+s (?:the |a |an )?.+)",
    ),
    (
        BuiltIn.how,
        r"how (?:do|can|could|would|should|to|does|is|are) (.+)",
        r"what(?: is|'s) the (?:best |right |easiest )?way to (.+)",
    ),
]
INTENTS: list[tuple[re.Pattern[str], Callable[..., Answer | None]]] = [
    (re.compile(rf"{POLITE}(?:{pattern})[ ?.!]*", re.IGNORECASE), handler)
    for handler, *patterns in PHRASES
    for pattern in patterns
]
