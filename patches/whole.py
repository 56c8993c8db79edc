"""What changes when a whole file, or whole definitions of it, are written anew.

Knows nothing of repositories. Invariant: what may be only an excerpt of a file never replaces it.
"""

import ast
import re

from patches.place import ELISION, Run
from patches.read import smallest
from shapes import WorkbenchError

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
SEND_DIFF = "Send a diff, or the whole file."
ENDS = 4  # lines that an excerpt leaves out at an end
SMALL = 12  # lines of a file where every one counts


def rewrite_lines(lines: list[str], new: list[str], is_sure: bool) -> tuple[list[Run], str]:
    """The changed runs of a file's lines, and what was taken for what. `is_sure` says that the text
    was sent under nothing but the file's name."""
    for line in new:
        if lines and ELISION.match(line) and line not in lines:
            raise WorkbenchError(f"{line.strip()!r} stands for other lines.", SEND_DIFF)
    if spans := _definitions(lines, new):
        runs = [run for start, end, body in spans for run in _runs(lines, start, end, body)]
        return runs, "by definition"
    solid, given = ([line.strip() for line in each if line.strip()] for each in (lines, new))
    marks = "".join(mark for mark, _ in smallest(solid, given))
    is_small = len(solid) <= SMALL
    is_half = marks.count(" ") * 2 >= len(solid)
    is_tiny = is_small and is_sure and (" " in marks or len(solid) < ENDS)
    if _is_excerpt(marks, 1 if is_small else ENDS) or not (is_half or is_tiny):
        raise WorkbenchError("this may be only a part of the file.", SEND_DIFF)
    return _runs(lines, 0, len(lines), new), "the whole file"


def _is_excerpt(marks: str, ends: int = ENDS) -> bool:
    """Whether lines are left out, and nothing stands for them."""
    cut = re.search(rf"^-{{{ends},}}(?![+-])|(?<![+-])-{{{ends},}}$", marks)
    return bool(cut or re.fullmatch(r"-* +-+|-+ +-*", marks))


def _runs(lines: list[str], start: int, end: int, new: list[str]) -> list[Run]:
    """The smallest changes that make the lines of a span the new ones."""
    runs: list[Run] = []
    at = start
    for mark, line in smallest(lines[start:end], new):
        if mark == " ":
            at += 1
            continue
        if not runs or runs[-1][1] != at:
            runs.append((at, at, ()))
        begin, _, body = runs.pop()
        at += mark == "-"
        runs.append((begin, at, (*body, line) if mark == "+" else body))
    return runs


def _definitions(lines: list[str], new: list[str]) -> list[tuple[int, int, list[str]]]:
    """Where each definition of a text that holds nothing else stands in a Python file, and what is
    to stand there; [] when it is another kind of text."""
    widths = [len(line) - len(line.lstrip()) for line in new if line.strip()]
    given = [line[min(widths) :] if line.strip() else line for line in new]
    try:
        nodes, tree = ast.parse("\n".join(given)).body, ast.parse("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    rest = {i for i, line in enumerate(given) if line.strip()}
    rest -= {i for node in nodes for i in range(*_span(node))}
    here = {getattr(node, "name", "") for node in nodes}
    is_all = here >= {getattr(node, "name", "") for node in tree.body}
    if rest or is_all or not all(isinstance(node, Definition) for node in nodes):
        return []
    spans = []
    for node in nodes:
        named = [each for each in ast.walk(tree) if getattr(each, "name", "") == node.name]
        found = [each for each in named if isinstance(each, Definition)]
        if len(found) > 1:
            found = [each for each in found if ast.dump(_head(each)) == ast.dump(_head(node))]
        if len(found) != 1 or not _keeps(found[0], node):
            why = f"`{node.name}` is not one definition of it, or has lost a part."
            raise WorkbenchError(why, SEND_DIFF)
        start, end = _span(found[0])
        margin = lines[start][: found[0].col_offset]
        body = [margin * bool(line.strip()) + line for line in given[slice(*_span(node))]]
        if _is_excerpt("".join(mark for mark, _ in smallest(lines[start:end], body))):
            raise WorkbenchError(f"this may be only a part of `{node.name}`.", SEND_DIFF)
        spans.append((start, end, body))
    return spans


def _span(node: ast.stmt) -> tuple[int, int]:
    """The first line, with decorators, and the line after the last, 0-based."""
    heads = [each.lineno for each in getattr(node, "decorator_list", [])]
    return min([node.lineno, *heads]) - 1, node.end_lineno


def _head(node: Definition) -> ast.AST:
    return node if isinstance(node, ast.ClassDef) else node.args


def _keeps(old: Definition, new: Definition) -> bool:
    """Whether a definition still has its parts, or others, at the same depth."""
    names, left = (
        {each.name for each in node.body if isinstance(each, Definition)} for node in (old, new)
    )
    depths = {node.body[0].col_offset - node.col_offset for node in (old, new)}
    is_most = isinstance(old, ast.FunctionDef) or len(names - left) <= len(left - names)
    is_bare = bool(old.decorator_list) and not new.decorator_list
    return type(old) is type(new) and is_most and len(depths) == 1 and not is_bare
