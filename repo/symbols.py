"""What a repository defines, uses and says.

Knows nothing of how people ask. Invariant: an answer is true of the files as they are on disk.
"""

import ast
import copy
import re
import sqlite3
import threading
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from repo.files import Repo, hidden
from repo.units import Unit, cut, nodes
from shapes import Place

TABLE = """CREATE VIRTUAL TABLE unit
USING fts5(name, path, text, tokenize="porter unicode61 tokenchars '_'")"""
INSERT = "INSERT INTO unit(rowid, name, path, text) VALUES (?, ?, ?, ?)"
SEARCH = "SELECT rowid, -bm25(unit, ?, ?, ?) FROM unit WHERE unit MATCH ?"
TEST = re.compile(r"(^|[/_.])(tests?|testing|conftest|bench\w*|examples?)[/_.]")
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
STOP_WORDS = set(
    "a and are can do does for how i in is it of on the to we what when where which who you".split()
)


@dataclass(frozen=True, eq=False)
class Source:
    """A tracked file as it was found; looked into no deeper than asked."""

    path: str
    stamp: tuple[int, ...]
    sha: str
    hidden: str  # why nothing of it is shown
    units: tuple[Unit, ...]
    rows: range  # of the table

    @cached_property
    def text(self) -> str:
        return "".join(unit.text for unit in self.units)

    @cached_property
    def facts(self) -> tuple[list[Place], dict[str, list[Place]]]:
        """What it defines and imports, in order; where it uses each word."""
        symbols, uses = [], defaultdict(list)
        lines = re.split(r"\r\n?|\n", self.text.removeprefix("\ufeff"))
        is_python = self.path.endswith(".py")
        for node, inside, name, kind in nodes(self.text, deep=True) if is_python else ():
            line, end = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
            used = ""
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    head = copy.copy(node)
                    head.body = head.decorator_list = []
                    text = ast.unparse(head).rstrip(":")
                    symbols.append(Place(self.path, line, text, name, kind, node.name))
                case ast.Name(ctx=ast.Store()) if not inside:
                    text = lines[line - 1].strip()
                    symbols.append(Place(self.path, line, text, node.id, "variable", node.id))
                case ast.Import() | ast.ImportFrom():
                    symbols.append(Place(self.path, line, ast.unparse(node), "", "import"))
                    used, end = getattr(node, "module", "") or "", line
                case ast.Name(id=used) | ast.Attribute(attr=used) | ast.alias(name=used):
                    pass
            for word in filter(None, used.split(".")):
                uses[word].append(Place(self.path, end, lines[end - 1].strip(), inside))
        return symbols, uses


class Index:
    """The Library of one repository (see shapes.Library)."""

    def __init__(self, repo: Repo) -> None:
        self._repo, self.files, self.log = repo, repo.files, repo.log
        self._known: dict[str, Source] = {}
        self._units: dict[int, Unit] = {}
        self._rows = 0  # so far
        self._lock = threading.RLock()
        self._table = sqlite3.connect(":memory:", check_same_thread=False)
        self._table.execute(TABLE)

    def symbols(self, name: str = "", path: str = "") -> list[Place]:
        """Definitions called `name`, bare or qualified; for "", every one and every import."""
        return [
            symbol
            for where, source in self.sources().items()
            if path in ("", where)
            for symbol in source.facts[0]
            if not name or f".{symbol.qualname}".endswith(f".{name}")
        ]

    def references(self, name: str) -> list[Place]:
        last, sources = name.rpartition(".")[2], self.sources().values()
        return list(dict.fromkeys(use for each in sources for use in each.facts[1].get(last, ())))

    def search(self, words: str, limit: int = 5) -> list[Place]:
        """The definitions, sections and stretches of text that match best."""
        self.sources()
        tests = 1 if re.search("test|bench", words) else 0.5  # else tests answer every question
        found = {
            unit: score * (tests if TEST.search(unit.path) else 1)
            for unit, score in self.scores(words, 5, 4, 1).items()
            if unit.text.strip()
        }
        best = sorted(found, key=lambda unit: -found[unit])[:limit]
        return [Place(it.path, it.line, it.text.rstrip(), it.name, score=found[it]) for it in best]

    def scores(self, words: str, name: float, path: float, text: float) -> dict[Unit, float]:
        """How well each unit of the last `sources()` matches, by these weights of its columns."""
        query = " OR ".join(f'"{term}"' for term in sorted(terms(words))) or '""'
        with self._lock:
            rows = self._table.execute(SEARCH, [name, path, text, query])
            return {self._units[row]: score for row, score in rows}

    def sources(self) -> dict[str, Source]:
        """Every tracked file as it is now; only what has changed is read."""
        with self._lock:
            known = {path: self._look(path) for path in self.files()}
            for path in self._known.keys() - known.keys():
                self._forget(path)
            self._known = known
            return known

    def _look(self, path: str) -> Source:
        try:
            stat = (self._repo.root / path).lstat()
            stamp = stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size
        except OSError:
            stamp = ()
        old = self._known.get(path)
        if old and old.stamp == stamp:
            return old
        file = self._repo.text(path)
        if old and file and file.sha == old.sha:
            return replace(old, stamp=stamp)
        self._forget(path)
        why = hidden(path, file)
        units = () if why else (*cut(path, file.text),)
        rows = range(self._rows, self._rows + len(units))
        self._rows = rows.stop
        self._units.update(zip(rows, units))
        words = ((it.name.rpartition(".")[2], path, f"{it.name} {it.text}") for it in units)
        told = ((row, *map(_spread, each)) for row, each in zip(rows, words))
        self._table.executemany(INSERT, told)
        return Source(path, stamp, file.sha if file else "", why, units, rows)

    def _forget(self, path: str) -> None:
        rows = self._known[path].rows if path in self._known else ()
        self._table.executemany("DELETE FROM unit WHERE rowid = ?", ([row] for row in rows))
        for row in rows:
            del self._units[row]


def terms(text: str) -> set[str]:
    """What is looked for: words and parts of compound identifiers, but those that say little."""
    found = set(_spread(text).lower().split())
    return found - STOP_WORDS or found


def _spread(text: str) -> str:
    return " ".join(map(_parts, re.findall(r"\w+", text)))


@lru_cache(50_000)
def _parts(word: str) -> str:
    """A word, and the parts of a compound identifier."""
    return " ".join([word, *PART.findall(word)])
