"""The mechanical edits themselves, by libcst. Only imported in the child of patches/child.py.

Knows nothing of git. Invariant: a new text compiles, and is the old one byte for byte outside the
edited places; a file that cannot be handled so is left alone and named in a remark.
"""

import re
import textwrap
from collections.abc import Callable
from functools import partial

import libcst as cst
import libcst.matchers as m
from libcst.codemod import CodemodContext
from libcst.codemod.commands.convert_format_to_fstring import ConvertFormatStringCommand
from libcst.codemod.commands.convert_percent_format_to_fstring import (
    ConvertPercentFormatStringCommand,
)
from libcst.codemod.commands.convert_union_to_or import ConvertUnionToOrCommand
from libcst.codemod.commands.remove_unused_imports import RemoveUnusedImportsCommand
from libcst.metadata import (
    MetadataWrapper,
    PositionProvider,
    QualifiedName,
    QualifiedNameProvider,
    QualifiedNameSource,
)

from patches.renaming import Rename, module_of, refused

BOM = "\ufeff"
DOC_COLUMNS = 94
OPTIONAL = QualifiedName("typing.Optional", QualifiedNameSource.IMPORT)
# What compile, libcst and its codemods raise on source that they cannot handle.
FAILURES = (cst.ParserSyntaxError, cst.CSTLogicError, AssertionError, AttributeError, ImportError)
FAILURES += (LookupError, MemoryError, RuntimeError, SyntaxError, TypeError, ValueError)

Edit = Callable[[str, cst.Module], str]


def run(payload: dict) -> dict:
    """New texts of the files that change, and remarks. patches/codemods.py makes the payload."""
    bodies = {path: text.removeprefix(BOM) for path, text in payload["files"].items()}
    kind, arguments, definitions = payload["kind"], payload["arguments"], payload["definitions"]
    if kind == "rename":
        edit: Edit = Rename(
            **arguments, paths=payload["paths"], bodies=bodies, definitions=definitions
        )
    elif kind == "docstring":
        edit = _documenting(**arguments, definitions=definitions)
    else:
        edit = partial(_transform, COMMANDS[kind])
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
        remarks += edit.remarks(after.keys())
    return {"files": after, "remarks": remarks}


def _transform(command: type, path: str, tree: cst.Module) -> str:
    where = module_of(path)
    return command(CodemodContext({}, path, where.name, where.package)).transform_module(tree).code


class _UnusedImports(RemoveUnusedImportsCommand):
    def visit_Try(self, node: cst.Try) -> bool:
        return False  # an import that is tried is there for its success or failure

    def visit_Module(self, node: cst.Module) -> bool:
        # what a package imports, it hands on
        return not self.context.filename.endswith("__init__.py") and super().visit_Module(node)


class _Unions(ConvertUnionToOrCommand):
    """Optional[X] too. A quoted name stays as it is: text has no `|`."""

    def leave_Subscript(
        self, original_node: cst.Subscript, updated_node: cst.Subscript
    ) -> cst.BaseExpression:
        if m.findall(updated_node, m.SimpleString() | m.Comment()):
            return updated_node
        if QualifiedNameProvider.has_name(self, original_node, OPTIONAL):
            only = updated_node.slice[0].slice.value
            return cst.BinaryOperation(only, cst.BitOr(), cst.Name("None"))
        return super().leave_Subscript(original_node, updated_node)

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        self.remove_unused_import("typing", "Optional")
        return super().leave_Module(original_node, updated_node)


class _FStrings(ConvertFormatStringCommand, ConvertPercentFormatStringCommand):
    """Only where the same values are shown in the same order: libcst's own commands drop arguments
    that are not shown, evaluate others twice, and take `{0[key]}` for a variable."""

    def on_leave(self, original_node: cst.CSTNode, updated_node: cst.CSTNode) -> cst.CSTNode:
        after = super().on_leave(original_node, updated_node)
        if after is updated_node or not isinstance(after, cst.FormattedString):
            return after
        code = cst.Module([]).code_for_node
        is_call = isinstance(updated_node, cst.Call)
        given = updated_node.args if is_call else getattr(updated_node.right, "elements", ())
        values = [code(each.value).replace("'", '"') for each in given]
        shown = [code(each.expression) for each in after.parts if hasattr(each, "expression")]
        # all values are made before the first is shown: names, or one value alone, cannot tell
        plain = len(values) == 1 or all(re.fullmatch(r"[\w.]+", each) for each in values)
        escaped = re.search(r"\\[^nt]", code(updated_node))  # can mean a brace
        same = plain and not escaped and values == [each.replace("'", '"') for each in shown]
        return after if same else updated_node


def _documenting(definitions: list[dict], name: str, text: str) -> Edit:
    lines = {each["line"]: each["path"] for each in definitions if each["wanted"]}
    if len(lines) > 1:
        raise refused(name, "several are called so")

    def edit(path: str, tree: cst.Module) -> str:
        if path not in lines.values():
            return tree.code
        places = MetadataWrapper(tree, unsafe_skip_copy=True).resolve(PositionProvider)
        node, place = next(
            (node, place.start)
            for node, place in places.items()
            if isinstance(node, cst.FunctionDef | cst.ClassDef) and place.start.line in lines
        )
        indent = tree.code.split("\n")[place.line - 1][: place.column] + tree.default_indent
        words = re.sub(r'"(?="")|"$', r'\\"', text.replace("\\", r"\\"))
        filled = textwrap.wrap(words, DOC_COLUMNS - len(indent), break_long_words=False)
        quoted = cst.SimpleString('"""' + f"{tree.default_newline}{indent}".join(filled) + '"""')
        body = node.body
        first, rest = body.body[0], body.body
        if node.get_docstring() is not None:
            old = first if isinstance(first, cst.Expr) else first.body[0]
            return tree.with_deep_changes(old, value=quoted).code
        if isinstance(body, cst.SimpleStatementSuite):
            rest = [cst.SimpleStatementLine(rest, trailing_whitespace=body.trailing_whitespace)]
            body = cst.IndentedBlock([])
        added = cst.SimpleStatementLine([cst.Expr(quoted)])
        return tree.with_deep_changes(node, body=body.with_changes(body=[added, *rest])).code

    return edit


COMMANDS = {"unused_imports": _UnusedImports, "unions": _Unions, "fstrings": _FStrings}
