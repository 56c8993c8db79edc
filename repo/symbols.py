"""What a repository defines, uses and says, found without a language model.

Knows nothing of models or of how people ask. Invariant: an answer is true of the files as they are
on disk now; only a file that changed since the last question is read again, and one that cannot be
parsed is still found as text.
"""

import ast
import copy
import os
import re
import sqlite3
import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from repo.files import Repo
from shapes import Commit, Place, Symbol

CHUNK_LINES, HEAD_CHARS = 60, 400
TABLE = "USING fts5(name, path, head, text, tokenize=\"porter unicode61 tokenchars '_'\")"
# A name says more than a path, a path more than the text, the text more than its file's start.
SEARCH = "SELECT rowid, -bm25(unit, 6, 4, 0.5, 1) FROM unit WHERE unit MATCH ?"
TEST = re.compile(r"(^|[/_.])(tests?|bench\w*)[/_.]")
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
STOP_WORDS = """a an and are as at be by can do does for from has have how i if in is it its me my
of on or our that the there this to was we what when where which who will with you your"""


class _Source(NamedTuple):
    """What one file holds."""

    stamp: tuple[int, int]
    symbols: list[Symbol]
    uses: dict[str, list[Place]]
    imports: list[Place]
    cuts: dict[int, str]  # first line of a unit -> the definition or heading that it is


class Index:
    """The Library of one repository (see shapes.Library)."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._known: dict[str, _Source] = {}
        self._units: dict[int, Place] = {}  # what is searched, by its row in the table
        self._lock = threading.Lock()
        self._table = sqlite3.connect(":memory:", check_same_thread=False)
        self._table.execute(f"CREATE VIRTUAL TABLE unit {TABLE}")

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
        last, sources = name.rpartition(".")[2], self._sources().values()
        return list(dict.fromkeys(each for it in sources for each in it.uses.get(last, ())))

    def imports(self, path: str) -> list[Place]:
        """The import statements of a Python file, in order."""
        source = self._sources().get(path)
        return source.imports if source else []

    def log(self, limit: int = 10, path: str = "") -> list[Commit]:
        """The newest commits first, of all files or of one."""
        return self._repo.log(limit, path)

    def search(self, words: str, limit: int = 5) -> list[Place]:
        """The functions, class heads, sections and stretches of text that match best (BM25).

        A test speaks of everything, so it counts for less unless tests are asked for.
        """
        self._sources()
        terms = set(_terms(words).lower().split()) - set(STOP_WORDS.split())
        tests = any(term.startswith(("test", "bench")) for term in terms)
        query = " OR ".join(f'"{term}"' for term in terms) or '""'
        found = []
        for row, score in self._table.execute(SEARCH, [query]).fetchall():
            if unit := self._units.get(row):
                score *= 0.5 if TEST.search(unit.path) and not tests else 1
                found.append(replace(unit, score=score))
        return sorted(found, key=lambda unit: (-unit.score, unit.path, unit.line))[:limit]

    def _sources(self) -> dict[str, _Source]:
        with self._lock:
            stamps = {}
            for path in self._repo.files():
                with suppress(OSError):
                    stat = os.lstat(self._repo.root / path)
                    stamps[path] = (stat.st_mtime_ns, stat.st_size)
            same = {path: it for path, it in self._known.items() if stamps.get(path) == it.stamp}
            for row in [row for row, unit in self._units.items() if unit.path not in same]:
                del self._units[row]
                self._table.execute("DELETE FROM unit WHERE rowid = ?", [row])
            self._known = {
                path: same.get(path) or self._read(path, stamp) for path, stamp in stamps.items()
            }
            return self._known

    def _read(self, path: str, stamp: tuple[int, int]) -> _Source:
        file = self._repo.text(path)
        lines = re.split(r"\r\n?|\n", file.text.removeprefix("\ufeff")) if file else []
        source = _Source(stamp, [], defaultdict(list), [], {})
        if path.endswith((".py", ".pyi")):
            with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
                _walk(path, lines, source)
        elif path.endswith(".md"):
            source.cuts.update(_headings(lines))
        cuts = source.cuts or dict.fromkeys(range(1, len(lines), CHUNK_LINES), "")
        head, starts = _terms("\n".join(lines)[:HEAD_CHARS]), sorted(cuts)
        for start, after in zip(starts, [*starts[1:], len(lines) + 1]):
            text = "\n".join(lines[start - 1 : after - 1]).rstrip()
            if text.strip():
                inside = cuts[start]
                name = re.split(r"\.| > ", inside)[-1]
                words = [_terms(name), _terms(path), head, _terms(f"{inside} {text}")]
                row = self._table.execute("INSERT INTO unit VALUES (?, ?, ?, ?)", words).lastrowid
                self._units[row] = Place(path, start, start + text.count("\n"), text, inside)
        return source


def _walk(path: str, lines: list[str], source: _Source) -> None:
    """Notes what a Python file defines, uses and imports; walks it without recursion."""
    waiting: list[tuple[ast.AST, str, str]] = [(ast.parse("\n".join(lines)), "", "")]
    source.cuts[1] = ""
    while waiting:
        node, inside, around = waiting.pop()  # the definition that it is in, and its kind
        line, end = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
        name = kind = used = doc = ""
        outer = around in ("", "class")
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                name, doc = node.name, (ast.get_docstring(node) or "").split("\n\n")[0]
                kind = "method" if around == "class" else "function"
                kind = "class" if isinstance(node, ast.ClassDef) else kind
                head = copy.copy(node)
                head.body = head.decorator_list = []
                signature = ast.unparse(head).rstrip(":")
            case ast.Name(id=name, ctx=ast.Store()) if outer:
                kind, signature = "variable", lines[line - 1].strip()[:100]
            case ast.Import() | ast.ImportFrom():
                source.imports.append(Place(path, line, end, ast.unparse(node), inside))
                used, end = getattr(node, "module", "") or "", line
            case (
                ast.Name(id=used, ctx=ast.Load())
                | ast.Attribute(attr=used, ctx=ast.Load())
                | ast.alias(name=used)
            ):
                pass
        for word in filter(None, used.split(".")):
            source.uses[word].append(Place(path, end, end, lines[end - 1].strip(), inside))
        if kind:
            qualname = f"{inside}.{name}".lstrip(".")
            source.symbols.append(Symbol(name, qualname, kind, path, line, end, signature, doc))
            if outer and kind != "variable":
                first = min([line, *(each.lineno for each in node.decorator_list)])
                source.cuts[first] = qualname
                source.cuts.setdefault(end + 1, inside)
            inside, around = qualname, kind
        children = list(ast.iter_child_nodes(node))
        waiting += [(child, inside, around) for child in reversed(children)]


def _headings(lines: list[str]) -> dict[int, str]:
    """First line of each Markdown section -> its heading under the headings above it."""
    cuts, trail, fenced = {1: ""}, [], False
    for number, line in enumerate(lines, 1):
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        hashes, _, heading = line.partition(" ")
        if not fenced and hashes in ("#", "##", "###", "####"):
            trail = [*trail[: len(hashes) - 1], heading.strip(" #")]
            cuts[number] = " > ".join(trail)
    return cuts


def _terms(text: str) -> str:
    """The words of a text, and the parts of those that are compound identifiers."""
    words = re.findall(r"\w+", text)
    return " ".join(words + [part for word in words for part in PART.findall(word) if part != word])
