"""What a repository defines, uses and says, found without a language model.

Knows nothing of models or of how people ask. Invariant: an answer is true of the files as they are
on disk now; only a file that changed since the last question is read again, and one that cannot be
parsed is still found as text.
"""

import ast
import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from repo.files import Repo
from shapes import Commit, Place, Symbol

CHUNK_LINES = 60
UNIT_CHARS = 20_000
NAME_WEIGHT, PATH_WEIGHT, FILE_WEIGHT, TEST_WEIGHT = 3, 2, 0.4, 0.5
TEST = re.compile(r"(^|/|_)tests?[/_.]")
STOP_WORDS = """a an and any are as at be by can do does for from get has have how i if in into is
it its me my of on or our so that the their then there this to was we what when where which who
will with you your"""


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class _Source(NamedTuple):
    """What one file holds."""

    stamp: tuple[int, int]
    symbols: list[Symbol]
    uses: dict[str, list[Place]]
    imports: list[Place]
    units: list[tuple[Place, Counter[str]]]
    terms: Counter[str]


class Index:
    """The Library of one repository (see shapes.Library)."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._known: dict[str, _Source] = {}

    def files(self) -> list[str]:
        """Every tracked file's path, sorted."""
        return self._repo.files()

    def symbols(self, name: str = "", path: str = "") -> list[Symbol]:
        """Definitions called `name`, bare or qualified; every one for ""."""
        return [
            symbol
            for where, source in self._sources().items()
            if path in ("", where)
            for symbol in source.symbols
            if not name or f".{symbol.qualname}".endswith(f".{name}")
        ]

    def references(self, name: str) -> list[Place]:
        """Lines that call, import or otherwise use the last part of `name`; not its definition."""
        last = name.rpartition(".")[2]
        return [place for source in self._sources().values() for place in source.uses.get(last, ())]

    def imports(self, path: str) -> list[Place]:
        """The import statements of a Python file, in order."""
        source = self._sources().get(path)
        return source.imports if source else []

    def log(self, limit: int = 10, path: str = "") -> list[Commit]:
        """The newest commits first, of all files or of one."""
        return self._repo.log(limit, path)

    def search(self, words: str, limit: int = 5) -> list[Place]:
        """The functions, class heads, sections and stretches of text that match best.

        A unit's score is its own BM25 with some of its file's. A test speaks of everything, so it
        counts for less unless tests are asked for.
        """
        query = _terms(words)
        sources = [source for source in self._sources().values() if source.units]
        wholes = _bm25(query, [source.terms for source in sources])
        pairs = [(unit, whole) for source, whole in zip(sources, wholes) for unit in source.units]
        found = []
        for score, ((place, _), whole) in zip(_bm25(query, [unit[1] for unit, _ in pairs]), pairs):
            if score:
                is_test = TEST.search(place.path) and "test" not in query
                score = (score + FILE_WEIGHT * whole) * (TEST_WEIGHT if is_test else 1)
                found.append(replace(place, score=score))
        return sorted(found, key=lambda place: (-place.score, place.path, place.line))[:limit]

    def _sources(self) -> dict[str, _Source]:
        fresh = {}
        for path in self._repo.files():
            try:
                stat = os.lstat(self._repo.root / path)
            except OSError:
                continue
            stamp, known = (stat.st_mtime_ns, stat.st_size), self._known.get(path)
            fresh[path] = known if known and known.stamp == stamp else self._read(path, stamp)
        self._known = fresh
        return fresh

    def _read(self, path: str, stamp: tuple[int, int]) -> _Source:
        file = self._repo.text(path)
        lines = re.split(r"\r\n?|\n", file.text.removeprefix("\ufeff")) if file else []
        walk, cuts = _Walk(path, lines), {}
        if path.endswith((".py", ".pyi")):
            try:
                walk.run()
                cuts = walk.cuts
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                walk = _Walk(path, lines)
        elif path.endswith((".md", ".markdown")):
            cuts = _headings(lines)
        units = list(_units(path, lines, cuts or dict.fromkeys(range(1, len(lines), CHUNK_LINES))))
        terms: Counter[str] = Counter()
        for _, counts in units:
            terms.update(counts)
        return _Source(stamp, walk.symbols, walk.uses, walk.imports, units, terms)


class _Walk:
    """Definitions, uses and imports of one Python file, found by one walk without recursion."""

    def __init__(self, path: str, lines: list[str]) -> None:
        self.path, self.lines = path, lines
        self.symbols: list[Symbol] = []
        self.uses: dict[str, list[Place]] = {}
        self.imports: list[Place] = []
        self.cuts: dict[int, str] = {1: ""}  # first line of a unit -> the definition that it is

    def run(self) -> None:
        waiting: list[tuple[ast.AST, Symbol | None]] = [(ast.parse("\n".join(self.lines)), None)]
        while waiting:
            node, owner = waiting.pop()
            inside = owner.qualname if owner else ""
            outer = owner is None or owner.kind == "class"
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    kind = "method" if owner and outer else "function"
                    kind = "class" if isinstance(node, ast.ClassDef) else kind
                    doc = (ast.get_docstring(node) or "").split("\n\n")[0]
                    new = self.define(node, node.name, kind, inside, _signature(node), doc)
                    if outer:
                        first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                        self.cuts[first] = new.qualname
                        self.cuts.setdefault(node.end_lineno + 1, inside)
                    owner = new
                case ast.Name(id=name, ctx=ast.Store()) if outer:
                    line = self.lines[node.lineno - 1].strip()
                    self.define(node, name, "variable", inside, line[:100], "")
                case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()):
                    self.use(name, node.end_lineno, inside)
                case ast.Import() | ast.ImportFrom(module=None):
                    self.imported(node, inside)
                case ast.ImportFrom(module=module):
                    self.imported(node, inside)
                    self.use(module, node.lineno, inside)
                case ast.alias(name=name):
                    self.use(name, node.lineno, inside)
            waiting += [(child, owner) for child in reversed(list(ast.iter_child_nodes(node)))]

    def define(
        self, node: ast.AST, name: str, kind: str, inside: str, signature: str, doc: str
    ) -> Symbol:
        qualname = f"{inside}.{name}".lstrip(".")
        lines = (node.lineno, node.end_lineno)
        self.symbols.append(Symbol(name, qualname, kind, self.path, *lines, signature, doc))
        return self.symbols[-1]

    def use(self, dotted: str, line: int, inside: str) -> None:
        place = Place(self.path, line, line, self.lines[line - 1].strip(), inside)
        for name in set(dotted.split(".")):
            places = self.uses.setdefault(name, [])
            if place not in places[-1:]:
                places.append(place)

    def imported(self, node: ast.Import | ast.ImportFrom, inside: str) -> None:
        text = ast.unparse(node)
        self.imports.append(Place(self.path, node.lineno, node.end_lineno, text, inside))


def _signature(node: Definition) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(map(ast.unparse, node.bases))
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{word} {node.name}({ast.unparse(node.args)}){returns}"


def _headings(lines: list[str]) -> dict[int, str]:
    """First line of each Markdown section -> its heading under the headings above it."""
    cuts, trail, fence = {1: ""}, [], ""
    for number, line in enumerate(lines, 1):
        mark = line.lstrip()[:3]
        if mark in ("```", "~~~") and fence in ("", mark):
            fence = "" if fence else mark
        hashes, _, heading = line.partition(" ")
        if not fence and hashes in ("#", "##", "###", "####"):
            trail = [*trail[: len(hashes) - 1], heading.strip(" #\r")]
            cuts[number] = " > ".join(trail)
    return cuts


def _units(
    path: str, lines: list[str], cuts: dict[int, str | None]
) -> Iterator[tuple[Place, Counter[str]]]:
    starts = sorted(cuts)
    for start, after in zip(starts, [*starts[1:], len(lines) + 1]):
        text = "\n".join(lines[start - 1 : after - 1]).rstrip()[:UNIT_CHARS]
        if text.strip():
            inside = cuts[start] or ""
            name = inside.rpartition(" > ")[2].rpartition(".")[2]
            terms = _terms(f"{inside}\n{text}")
            for words, weight in ((name, NAME_WEIGHT), (path, PATH_WEIGHT)):
                terms.update({term: weight * count for term, count in _terms(words).items()})
            yield Place(path, start, start + text.count("\n"), text, inside), terms


def _bm25(query: Counter[str], documents: list[Counter[str]]) -> list[float]:
    """Each document's score (Robertson and Zaragoza 2009) with k1 = 1.2 and b = 0.75."""
    lengths = [terms.total() for terms in documents]
    mean = sum(lengths) / max(len(lengths), 1)
    scores = [0.0] * len(documents)
    for term in query:
        counts = [terms[term] for terms in documents]
        holders = len(counts) - counts.count(0)
        rarity = math.log(1 + (len(counts) - holders + 0.5) / (holders + 0.5))
        for number, count in enumerate(counts):
            if count:
                norm = 1.2 * (0.25 + 0.75 * lengths[number] / mean)
                scores[number] += rarity * count * 2.2 / (count + norm)
    return scores


def _terms(text: str) -> Counter[str]:
    """Stems of the words and of the parts of identifiers, without stop words."""
    found: Counter[str] = Counter()
    for word, count in Counter(re.findall(r"\w+", text)).items():
        for term in _word_terms(word):
            found[term] += count
    return found


@lru_cache(maxsize=50_000)
def _word_terms(word: str) -> tuple[str, ...]:
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+", word)
    words = {part.lower() for part in [word, *parts]} - set(STOP_WORDS.split())
    return tuple({_stem(word) for word in words})


def _stem(word: str) -> str:
    """The word without its common English endings: "file" and "files" have one stem."""
    for suffix in ("ings", "ing", "ed", "es", "s"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word.removesuffix(suffix)
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    if word[-1] == "y":
        return word[:-1] + "i"
    return word[:-1] if len(word) > 3 and word[-1] == "e" else word
