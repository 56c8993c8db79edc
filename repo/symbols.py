"""What a repository defines, uses and says.

Knows nothing of how people ask. Invariant: an answer is true of the files as they are on disk.
"""

import ast
import copy
import re
import sqlite3
import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from repo.files import Repo
from shapes import Place

CHUNK_LINES = 60
TABLE = """CREATE VIRTUAL TABLE unit
USING fts5(name, path, text, tokenize="porter unicode61 tokenchars '_'")"""
SEARCH = "SELECT rowid, -bm25(unit, 5, 4, 1) FROM unit WHERE unit MATCH ?"
TEST = re.compile(r"(^|[/_.])(tests?|bench\w*)[/_.]")
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
STOP_WORDS = set(
    "a and are can do does for how i in is it of on the to we what when where which who you".split()
)


class _Source(NamedTuple):
    stamp: int
    symbols: list[Place]
    uses: dict[str, list[Place]]


class Index:
    """The Library of one repository (see shapes.Library)."""

    def __init__(self, repo: Repo) -> None:
        self._repo, self.files, self.log = repo, repo.files, repo.log
        self._known: dict[str, _Source] = {}
        self._units: dict[int, Place] = {}
        self._lock = threading.Lock()
        self._table = sqlite3.connect(":memory:", check_same_thread=False)
        self._table.execute(TABLE)

    def symbols(self, name: str = "", path: str = "") -> list[Place]:
        """Definitions called `name`, bare or qualified; for "", every one and every import."""
        return [
            symbol
            for where, source in self._sources().items()
            if path in ("", where)
            for symbol in source.symbols
            if not name or f".{symbol.qualname}".endswith(f".{name}")
        ]

    def references(self, name: str) -> list[Place]:
        last, sources = name.rpartition(".")[2], self._sources().values()
        return list(dict.fromkeys(use for each in sources for use in each.uses.get(last, ())))

    def search(self, words: str, limit: int = 5) -> list[Place]:
        """The definitions, sections and stretches of text that match best."""
        self._sources()
        terms = set(_terms(words).lower().split()) - STOP_WORDS
        tests = 1 if re.search("test|bench", words) else 0.5  # else tests answer every question
        query = " OR ".join(f'"{term}"' for term in terms) or '""'
        found = [
            replace(unit, score=score * (tests if TEST.search(unit.path) else 1))
            for row, score in self._table.execute(SEARCH, [query]).fetchall()
            if (unit := self._units.get(row))
        ]
        return sorted(found, key=lambda unit: -unit.score)[:limit]

    def _sources(self) -> dict[str, _Source]:
        with self._lock:
            stamps = {}
            for path in self._repo.files():
                with suppress(OSError):
                    stamps[path] = (self._repo.root / path).lstat().st_mtime_ns
            same = {path: it for path, it in self._known.items() if stamps.get(path) == it.stamp}
            for row in [row for row, unit in self._units.items() if unit.path not in same]:
                del self._units[row]
                self._table.execute("DELETE FROM unit WHERE rowid = ?", [row])
            self._known = {it: same.get(it) or self._read(it, stamps[it]) for it in stamps}
            return self._known

    def _read(self, path: str, stamp: int) -> _Source:
        file = self._repo.text(path)
        lines = re.split(r"\r\n?|\n", file.text.removeprefix("\ufeff")) if file else []
        cuts = dict.fromkeys(range(1, len(lines), CHUNK_LINES), "")
        source = _Source(stamp, [], defaultdict(list))
        if path.endswith(".py"):
            with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
                cuts = _walk(path, lines, source)
        elif path.endswith(".md"):  # one # can be a comment in a code block
            cuts = {i: it.strip("# ") for i, it in enumerate(lines, 1) if it.startswith("##")}
            cuts.setdefault(1, "")
        for start, after in pairwise([*sorted(cuts), len(lines) + 1]):
            inside = cuts[start]
            if text := "\n".join(lines[start - 1 : after - 1]).rstrip():
                words = [*map(_terms, (inside.rpartition(".")[2], path, f"{inside} {text}"))]
                row = self._table.execute("INSERT INTO unit VALUES (?, ?, ?)", words).lastrowid
                self._units[row] = Place(path, start, text, inside)
        return source


def _walk(path: str, lines: list[str], source: _Source) -> dict[int, str]:
    """Notes what a Python file defines and uses; the first line and name of each unit."""
    cuts = {1: ""}
    waiting: list[tuple[ast.AST, str, str]] = [(ast.parse("\n".join(lines)), "", "")]
    while waiting:
        node, inside, around = waiting.pop()
        line, end = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
        kind = used = ""
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                plain = "method" if around == "class" else "function"
                kind = "class" if isinstance(node, ast.ClassDef) else plain
                head = copy.copy(node)
                head.body = head.decorator_list = []
                name, text = node.name, ast.unparse(head).rstrip(":")
            case ast.Name(id=name, ctx=ast.Store()) if not inside:
                kind, text = "variable", lines[line - 1].strip()
            case ast.Import() | ast.ImportFrom():
                source.symbols.append(Place(path, line, ast.unparse(node), "", "import"))
                used, end = getattr(node, "module", "") or "", line
            case ast.Name(id=used) | ast.Attribute(attr=used) | ast.alias(name=used):
                pass
        for word in filter(None, used.split(".")):
            source.uses[word].append(Place(path, end, lines[end - 1].strip(), inside))
        if kind:
            qualname = f"{inside}.{name}".lstrip(".")
            source.symbols.append(Place(path, line, text, qualname, kind, name))
            if kind != "variable" and around in ("", "class"):
                cuts[min([line, *(it.lineno for it in node.decorator_list)])] = qualname
                cuts.setdefault(end + 1, inside)
            inside, around = qualname, kind
        waiting += [(child, inside, around) for child in ast.iter_child_nodes(node)][::-1]
    return cuts


def _terms(text: str) -> str:
    """The words of a text, and the parts of compound identifiers."""
    return " ".join(re.findall(r"\w+", text) + PART.findall(text))
