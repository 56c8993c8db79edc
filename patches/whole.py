"""Turns a whole file, or whole definitions of it, that are written anew into hunks.

Knows nothing of repositories. Invariant: what may be only an excerpt of a file never replaces it.
"""

import ast
import re
from collections.abc import Iterator

from patches.place import ELISION
from patches.read import Hunk, smallest
from shapes import WorkbenchError

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
SEND_DIFF = "Send a diff, or the whole file."
ENDS = 4  # lines that an excerpt leaves out at an end
SMALL = 12  # lines of a file where every one counts


def rewrite(lines: list[str], new: list[str]) -> Iterator[Hunk]:
    """The hunks that make a file's lines the new ones."""
    for line in new:
        if lines and ELISION.match(line) and line not in lines:
            raise WorkbenchError(f"{line.strip()!r} stands for other lines.", SEND_DIFF)
    spans = _definitions(lines, new)
    for start, old, body in spans or [(0, lines, new)]:
        items = smallest(old, body)
        marks = "".join(mark for mark, line in items if line.strip())
        count = len(marks) - marks.count("+")
        is_most = spans or count < 2 or marks.count(" ") * 2 >= count
        ends = 1 if not spans and count <= SMALL else ENDS
        cut = rf"-{{{ends},}}(?![+-]).*|.*(?<![+-])-{{{ends},}}|-* +-+|-+ +-*"
        if not is_most or re.fullmatch(cut, marks):
            raise WorkbenchError("this may be only a part of the file or definition.", SEND_DIFF)
        yield Hunk(start + 1, lines=items)


def _definitions(lines: list[str], new: list[str]) -> list[tuple[int, list[str], list[str]]]:
    """Where each definition of a text that holds nothing else stands in a Python file, what is
    there, and what is to be there; [] when it is another kind of text."""
    width = min((len(line) - len(line.lstrip()) for line in new if line.strip()), default=0)
    given = [line[width:] if line.strip() else line for line in new]
    try:
        nodes, tree = ast.parse("\n".join(given)).body, ast.parse("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    rest = {i for i, line in enumerate(given) if line.strip()}
    rest -= {i for node in nodes for i in range(*_span(node))}
    here, top = ({getattr(node, "name", "") for node in body} for body in (nodes, tree.body))
    if rest or here >= top or not all(isinstance(node, Definition) for node in nodes):
        return []
    spans = []
    for node in nodes:
        same = (each for each in ast.walk(tree) if type(each) is type(node))
        found = [each for each in same if each.name == node.name]
        if len(found) != 1 or not _keeps(found[0], node):
            why = f"`{node.name}` is not one definition of it, or has lost a part."
            raise WorkbenchError(why, SEND_DIFF)
        start, end = _span(found[0])
        margin = lines[start][: found[0].col_offset]
        body = [margin * bool(line.strip()) + line for line in given[slice(*_span(node))]]
        spans.append((start, lines[start:end], body))
    return spans


def _span(node: ast.stmt) -> tuple[int, int]:
    """The first line, with decorators, and the line after the last, 0-based."""
    heads = [each.lineno for each in getattr(node, "decorator_list", [])]
    return min([node.lineno, *heads]) - 1, node.end_lineno


def _keeps(old: Definition, new: Definition) -> bool:
    """Whether a definition still has its parts, or others, at the same depth."""
    names, left = ({getattr(each, "name", "") for each in node.body} for node in (old, new))
    depths = {node.body[0].col_offset - node.col_offset for node in (old, new)}
    is_most = isinstance(old, ast.FunctionDef) or len(names - left) <= len(left - names)
    return is_most and len(depths) == 1 and bool(new.decorator_list) >= bool(old.decorator_list)
