"""The mechanical edits themselves, by libcst. Only imported in the child of patches/child.py.

Knows nothing of git. Invariant: a new text compiles, and is the old one byte for byte outside the
edited places; a file that cannot be handled so is left alone and named in a remark.
"""

import ast
import re
import string
import textwrap
from collections.abc import Callable

import libcst as cst
import libcst.matchers as m
from libcst.codemod import CodemodContext
from libcst.codemod.commands.convert_format_to_fstring import ConvertFormatStringCommand
from libcst.codemod.commands.convert_percent_format_to_fstring import (
    ConvertPercentFormatStringCommand,
)
from libcst.codemod.commands.convert_union_to_or import ConvertUnionToOrCommand
from libcst.codemod.commands.remove_unused_imports import RemoveUnusedImportsCommand
from libcst.metadata import QualifiedName, QualifiedNameProvider, QualifiedNameSource

from patches.renaming import Names, Rename, module_of, package_of, the_one
from shapes import WorkbenchError, plural

BOM = "\ufeff"
DOC_COLUMNS = 94
# What compile, libcst and its codemods raise on source that they cannot handle.
FAILURES = (cst.ParserSyntaxError, cst.CSTLogicError, AssertionError, AttributeError, ImportError)
FAILURES += (LookupError, MemoryError, RuntimeError, SyntaxError, TypeError, ValueError)

Edit = Callable[[str, cst.Module], str]


def run(payload: dict) -> dict:
    """New texts of the files that change, and remarks. patches/codemods.py makes the payload."""
    bodies = {path: text.removeprefix(BOM) for path, text in payload["files"].items()}
    kind, arguments, definitions = payload["kind"], payload["arguments"], payload["definitions"]
    edit: Edit = EDITS.get(kind, _fstrings)
    if kind == "rename":
        edit = Rename(**arguments, names=Names(payload["paths"], bodies), definitions=definitions)
    elif kind == "docstring":
        edit = _documenting(**arguments, definitions=definitions)
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
    if isinstance(edit, Rename):
        if not edit.paths <= after.keys():
            raise WorkbenchError(
                f"`{edit.old}` cannot be renamed. {' '.join(remarks)}", "Mend that file first."
            )
        if edit.guessed:
            remarks.append(
                f"{plural(len(edit.guessed), 'use')} on an object of unknown type, taken for it "
                f"as nothing else here is called so: {', '.join(edit.guessed)}."
            )
    return {"files": after, "remarks": remarks}


def _transform(command: type, path: str, tree: cst.Module) -> cst.Module:
    names = {"full_module_name": module_of(path), "full_package_name": package_of(path)}
    return command(CodemodContext(filename=path, **names)).transform_module(tree)


class _UnusedImports(RemoveUnusedImportsCommand):
    def visit_Try(self, node: cst.Try) -> bool:
        return False  # an import that is tried is there for its success or failure


def _unused_imports(path: str, tree: cst.Module) -> str:
    nodes = list(ast.walk(ast.parse(tree.code)))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    names = [node for node in nodes if isinstance(node, ast.alias)]
    bound = {name.asname or name.name.partition(".")[0] for name in names}
    # what a package imports, it hands on; and scopes take libcst long to find
    if path.endswith("__init__.py") or bound <= used:
        return tree.code
    return _transform(_UnusedImports, path, tree).code


def _unions(path: str, tree: cst.Module) -> str:
    return _transform(_Unions, path, tree).code


class _Unions(ConvertUnionToOrCommand):
    """Optional[X] too. A quoted name stays as it is: text has no `|`."""

    def leave_Subscript(
        self, original_node: cst.Subscript, updated_node: cst.Subscript
    ) -> cst.BaseExpression:
        simple = m.Name() | m.Attribute() | m.Subscript() | m.BinaryOperation(operator=m.BitOr())
        plain = m.Subscript(slice=[m.AtLeastN(m.SubscriptElement(m.Index(simple)), n=1)])
        if not m.matches(updated_node, plain) or m.findall(updated_node, m.Comment()):
            return updated_node
        optional = QualifiedName("typing.Optional", QualifiedNameSource.IMPORT)
        if QualifiedNameProvider.has_name(self, original_node, optional):
            only = updated_node.slice[0].slice.value
            return cst.BinaryOperation(only, cst.BitOr(), cst.Name("None"))
        return super().leave_Subscript(original_node, updated_node)

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        self.remove_unused_import("typing", "Optional")
        return super().leave_Module(original_node, updated_node)


def _fstrings(path: str, tree: cst.Module) -> str:
    return _transform(_Percent, path, _transform(_Format, path, tree)).code


class _Format(ConvertFormatStringCommand):
    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        return _if_same(updated_node, super().leave_Call, original_node)


class _Percent(ConvertPercentFormatStringCommand):
    def leave_BinaryOperation(
        self, original_node: cst.BinaryOperation, updated_node: cst.BinaryOperation
    ) -> cst.BaseExpression:
        return _if_same(updated_node, super().leave_BinaryOperation, original_node)


def _if_same(
    before: cst.BaseExpression, convert: Callable[..., cst.BaseExpression], original: cst.CSTNode
) -> cst.BaseExpression:
    """The f-string, where it shows the same values in the same order between the same words.

    libcst's codemods drop arguments that are not shown, evaluate others twice, and take `{0[key]}`
    for a variable.
    """
    try:
        after = convert(original, before)
        if not isinstance(after, cst.FormattedString):
            return before
        code = cst.Module([]).code_for_node
        old, new = (ast.parse(f"({code(each)})", mode="eval").body for each in (before, after))
        if isinstance(old, ast.Call):
            given = [*old.args, *(each.value for each in old.keywords)]
            words = "".join(part[0] for part in string.Formatter().parse(old.func.value.value))
        else:
            given = old.right.elts if isinstance(old.right, ast.Tuple) else []
            words = old.left.value.replace("%s", "")
    except FAILURES:
        return before
    values = [ast.dump(each) for each in given]
    shown = [ast.dump(part.value) for part in new.values if isinstance(part, ast.FormattedValue)]
    kept = "".join(part.value for part in new.values if isinstance(part, ast.Constant))
    plain = all(isinstance(each, ast.Name | ast.Constant) for each in given)
    same = shown == values or (plain and set(shown) == set(values))
    return after if same and words == kept else before


def _documenting(definitions: list[dict], name: str, text: str) -> Edit:
    wanted = [each for each in definitions if each["wanted"] and each["kind"] != "variable"]
    chosen = the_one(name, wanted, [f"{each['path']}:{each['line']}" for each in wanted])
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

    def edit(path: str, tree: cst.Module) -> str:
        if path != chosen["path"]:
            return tree.code
        nodes = [each for each in ast.walk(ast.parse(tree.code)) if isinstance(each, kinds)]
        node = next(each for each in nodes if each.lineno == chosen["line"])
        lines = [b"", *re.findall(rb"[^\r\n]*(?:\r\n?|\n|$)", tree.code.encode())]
        first = node.body[0]
        top = min([first.lineno, *(each.lineno for each in getattr(first, "decorator_list", []))])
        before = b"".join(lines[:top]) + lines[top][: first.col_offset]
        after = tree.code.encode().removeprefix(before)
        margin = lines[top][: first.col_offset].decode()
        newline = tree.default_newline
        if margin.strip():  # the body stands on the line of its `def`
            margin = " " * node.col_offset + tree.default_indent
            before = before.rstrip() + (newline + margin).encode()
        if ast.get_docstring(node) is not None:
            ended = lines[first.end_lineno][first.end_col_offset :]
            after = ended + b"".join(lines[first.end_lineno + 1 :])
        else:
            after = (newline + margin).encode() + after
        words = re.sub(r'"(?="")|"$', r'\\"', text.replace("\\", r"\\"))
        filled = textwrap.wrap(words, DOC_COLUMNS - len(margin), break_long_words=False)
        quoted = '"""' + f"{newline}{margin}".join(filled) + '"""'
        return (before + quoted.encode() + after).decode()

    return edit


EDITS: dict[str, Edit] = {"unused_imports": _unused_imports, "unions": _unions}
