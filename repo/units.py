"""Cuts a file into units: functions, methods, class heads, sections, and runs between them.

Knows nothing of indexes or questions. Invariant: a file's units, joined, are its text; all but the
first begin with a line that is not blank.
"""

import ast
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

RUN_LINES = 40
LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
MARKS = {"md": "##", "ipynb": "# %%"}  # of a line that begins a part; one # can be a comment


@dataclass(frozen=True, eq=False)
class Unit:
    path: str
    line: int
    text: str
    name: str  # "Class.method": its own; of a run, that of the class around it; or a heading
    is_function: bool


def cut(path: str, text: str) -> Iterator[Unit]:
    """The units of a file; of a notebook, those of its cells without what they printed."""
    ending = path.rpartition(".")[2]
    if ending == "ipynb":
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            cells = json.loads(text)["cells"]
            text = "".join(f"# %% {it['cell_type']}\n{''.join(it['source'])}\n\n" for it in cells)
    lines = LINE.findall(text)
    end = len(lines) + 1
    mark = MARKS.get(ending, "\0")
    cuts = {n: (it.strip("#% \r\n"), False) for n, it in enumerate(lines, 1) if it.startswith(mark)}
    for node, inside, name, kind in nodes(text) if ending == "py" else ():
        if kind:
            start = min([node.lineno, *(it.lineno for it in node.decorator_list)])
            cuts[start] = name, kind != "class"
            cuts.setdefault(node.end_lineno + 1, (inside, False))

    def told(number: int) -> int:
        """The first line from there on that is not blank."""
        return next((n for n in range(number, end) if lines[n - 1].strip()), end)

    starts = {1: ("", False)} | {told(n) if n > 1 else 1: it for n, it in sorted(cuts.items())}
    for start, after in pairwise([*starts, *{end} - {*starts}]):
        name, is_function = starts[start]
        while start < after:
            stop = after if is_function else min(told(start + RUN_LINES), after)
            yield Unit(path, start, "".join(lines[start - 1 : stop - 1]), name, is_function)
            start = stop


def nodes(text: str, deep: bool = False) -> Iterator[tuple[ast.AST, str, str, str]]:
    """The statements of a Python text that stand in no function, or every node if `deep`, each
    with the name of the definition around it and, of a definition, its own name and kind; none if
    the text does not parse."""
    waiting: list[tuple[ast.AST, str, str]] = []
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        waiting = [(ast.parse(text.removeprefix("\ufeff")), "", "")]
    while waiting:
        node, inside, around = waiting.pop()
        name = kind = ""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            plain = "method" if around == "class" else "function"
            kind = "class" if isinstance(node, ast.ClassDef) else plain
            name = f"{inside}.{node.name}".lstrip(".")
        yield node, inside, name, kind
        if kind:
            inside, around = name, kind
        if deep or kind in ("", "class"):
            below = [*ast.iter_child_nodes(node)][::-1]
            waiting += [
                (it, inside, around) for it in below if deep or not isinstance(it, ast.expr)
            ]
