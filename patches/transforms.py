"""The mechanical edits themselves, by libcst. Only imported in the child of patches/child.py.

Knows nothing of git. Invariant: a new text compiles, and is the old one byte for byte outside the
edited places; a file that cannot be handled so is named in a remark.
"""

import re
import textwrap
from functools import partial

import libcst as cst
from libcst.codemod import CodemodContext
from libcst.codemod.commands.convert_format_to_fstring import ConvertFormatStringCommand
from libcst.codemod.commands.convert_percent_format_to_fstring import (
    ConvertPercentFormatStringCommand,
)
from libcst.codemod.commands.convert_union_to_or import ConvertUnionToOrCommand
from libcst.codemod.commands.remove_unused_imports import RemoveUnusedImportsCommand
from libcst.metadata import MetadataWrapper, PositionProvider

from patches.renaming import FAILURES, Rename

BOM = "\ufeff"
code = cst.Module([]).code_for_node


def run(payload: dict) -> dict:
    """New texts of the files that change, and remarks."""
    bodies = {path: text.removeprefix(BOM) for path, text in payload["files"].items()}
    kind = payload["kind"]
    if kind == "rename":
        edit = Rename(payload, bodies)
    else:
        edit = partial(_document if kind == "docstring" else _transform, payload)
    after, remarks = {}, []
    for path, body in bodies.items():
        try:
            compile(body, path, "exec")  # refuses what would end libcst with a crash
            tree = cst.parse_module(body)
            new = edit(path, tree) if tree.code == body else body
            compile(new, path, "exec")
        except FAILURES as error:
            remarks.append(f"{path} was left alone: {str(error).partition(chr(10))[0]}.")
        else:
            if new != body:
                after[path] = payload["files"][path].replace(body, new)
    if kind == "rename":
        remarks += edit.check(after)
    return {"files": after, "remarks": remarks}


def _transform(payload: dict, path: str, tree: cst.Module) -> str:
    command = COMMANDS[payload["kind"]]
    if command is _UnusedImports and path.endswith("__init__.py"):
        return tree.code  # what a package imports, it hands on
    return command(CodemodContext(filename=path)).transform_module(tree).code


class _UnusedImports(RemoveUnusedImportsCommand):
    def visit_Try(self, node: cst.Try) -> bool:
        return False  # an import that is tried is there for its success or failure


class _Unions(ConvertUnionToOrCommand):
    """Only of plain types: a quoted name has no `|`."""

    def leave_Subscript(self, old: cst.Subscript, new: cst.Subscript) -> cst.BaseExpression:
        is_plain = re.fullmatch(r"([\w.\]]|[,[]\s*| \| )+", code(new))
        return super().leave_Subscript(old, new) if is_plain else new


class _FStrings(ConvertFormatStringCommand, ConvertPercentFormatStringCommand):
    """Only of plain values in the same order."""

    def on_leave(self, old: cst.CSTNode, new: cst.CSTNode) -> cst.CSTNode:
        after = super().on_leave(old, new)
        if after is new or not isinstance(after, cst.FormattedString):
            return after
        given = new.args if isinstance(new, cst.Call) else getattr(new.right, "elements", ())
        values = [code(each.value) for each in given]
        shown = [code(each.expression) for each in after.parts if hasattr(each, "expression")]
        # a backslash can hide a brace
        is_plain = re.fullmatch(r"[\w.]+", "".join(values)) and "\\" not in code(new)
        return after if is_plain and values == shown else new


def _document(payload: dict, path: str, tree: cst.Module) -> str:
    line = payload["definitions"][0]["line"]
    places = MetadataWrapper(tree, unsafe_skip_copy=True).resolve(PositionProvider)
    node, column = next(
        (node, place.start.column)
        for node, place in places.items()
        if isinstance(node, cst.FunctionDef | cst.ClassDef) and place.start.line == line
    )
    margin = tree.code.split("\n")[line - 1][:column] + tree.default_indent
    words = re.sub(r'"(?="")|"$', r'\\"', payload["arguments"]["text"].replace("\\", r"\\"))
    filled = textwrap.wrap(words, 94 - len(margin), break_long_words=False)
    text = cst.SimpleString('"""' + f"{tree.default_newline}{margin}".join(filled) + '"""')
    body, rest = node.body, node.body.body
    if node.get_docstring() is not None:
        old = rest[0] if isinstance(rest[0], cst.Expr) else rest[0].body[0]
        return tree.with_deep_changes(old, value=text).code
    if isinstance(body, cst.SimpleStatementSuite):
        rest = [cst.SimpleStatementLine(rest, trailing_whitespace=body.trailing_whitespace)]
        body = cst.IndentedBlock([])
    added = cst.SimpleStatementLine([cst.Expr(text)])
    return tree.with_deep_changes(node, body=body.with_changes(body=[added, *rest])).code


COMMANDS = {"unused_imports": _UnusedImports, "unions": _Unions, "fstrings": _FStrings}
