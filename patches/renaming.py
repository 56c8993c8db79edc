"""Renames one definition and its uses across modules. Only imported in the child process.

libcst's RenameCommand drops `as` names and follows neither relative imports nor re-exports, so this
takes scopes from libcst and edits bytes. Invariant: a name changes only where it leads to the
definition. A method of an object of unknown type changes only where nothing else that is known is
called so, and a remark tells where.
"""

import ast
import builtins
import io
import keyword
import re
import subprocess
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import libcst as cst
import libcst.matchers as m
from libcst.helpers import (
    ModuleNameAndPackage,
    calculate_module_and_package,
    get_absolute_module_from_package,
    get_absolute_module_from_package_for_import,
)
from libcst.metadata import ByteSpanPositionProvider, FullyQualifiedNameProvider, MetadataWrapper

from shapes import WorkbenchError

# A method called like one of theirs may well be theirs.
COMMON = (str, bytes, list, dict, set, Path, re.Pattern, io.TextIOWrapper)
COMMON += (subprocess.Popen, threading.Thread)
MOST_NAMES = 200
MINE = m.Name("self") | m.Name("cls") | m.Call(m.Name("super"))
ALL = m.AssignTarget(m.Name("__all__")) | m.AugAssign(m.Name("__all__"))


def refused(name: str, why: str) -> WorkbenchError:
    hint = "Choose another name, or say which is meant: Class.method, or `in FILE`."
    return WorkbenchError(f"`{name}` cannot be used: {why}.", hint)


def module_of(path: str) -> ModuleNameAndPackage:
    """The names of a file's module and package; modules begin in a folder `src`."""
    return calculate_module_and_package("src" if path.startswith("src/") else "", path)


def _links(path: str, body: str) -> Iterator[tuple[str, str]]:
    """(name, what it stands for), by imports and base classes."""
    where = module_of(path)
    for node in ast.walk(ast.parse(body)):
        match node:
            case ast.Import(names=names):
                yield from ((f"{where.name}.{a.asname or a.name}", a.name) for a in names)
            case ast.ImportFrom(names=names, module=module, level=level):
                source = get_absolute_module_from_package(where.package, module, level)
                for a in names:
                    name = f"{where.name}.{a.asname or a.name}"
                    yield (where.name, source) if a.name == "*" else (name, f"{source}.{a.name}")
            case ast.ClassDef(name=name, bases=bases):
                yield from (
                    (f"{where.name}.{name}", f"{where.name}.{ast.unparse(base)}") for base in bases
                )


class Rename(cst.CSTVisitor):
    """Called with each file's path and tree, it gives the file's new text."""

    METADATA_DEPENDENCIES = (ByteSpanPositionProvider, FullyQualifiedNameProvider)

    def __init__(
        self, old: str, new: str, paths: list[str], bodies: dict[str, str], definitions: list[dict]
    ) -> None:
        super().__init__()
        if not new.isidentifier() or keyword.iskeyword(new) or hasattr(builtins, new):
            raise refused(new, "it is Python's own, or no identifier")
        self.old, self.new = old.rpartition(".")[2], new
        self.modules = tuple(f"{module_of(path).name}." for path in paths)
        self.links: set[tuple[str, str]] = set()
        for path, body in bodies.items():
            try:
                self.links.update(_links(path, body))
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue  # the caller names it
        known = {f"{module_of(each['path']).name}.{each['qualname']}": each for each in definitions}
        wanted = [name for name in known if known[name]["wanted"]]
        family = set(wanted[:1])
        self.is_method = known[wanted[0]]["kind"] == "method"
        while near := {
            name
            for name in known.keys() - family
            if self.is_method and (name in self.reach(family) or family & self.reach({name}))
        }:
            family |= near  # a method and its overrides change together
        if not family.issuperset(wanted):
            raise refused(old, f"several are called so: {', '.join(wanted)}")
        self.paths = {known[name]["path"] for name in family}
        others = known.keys() - family
        self.ours, self.others = self.reach(family, others), self.reach(others, family)
        self.is_only = not others and not any(hasattr(kind, self.old) for kind in COMMON)
        self.unsure: list[str] = []

    def reach(self, names: Collection[str], stop: Collection[str] = ()) -> set[str]:
        """The names and all that stand for them."""
        seen: set[str] = set()
        new = set(names)
        while new and len(seen) < MOST_NAMES:  # re-exports can be circular
            seen |= new
            new = {
                link + name.removeprefix(source)
                for link, source in self.links
                for name in new
                if f"{name}.".startswith(f"{source}.")
            } - seen.union(stop)
        return seen

    def __call__(self, path: str, tree: cst.Module) -> str:
        self.path, self.where, self.data = path, module_of(path), tree.code.encode()
        self.here = f"{self.where.name}.{self.old}"
        self.spans: set[tuple[int, int]] = set()
        self.labels: set[cst.CSTNode | None] = set()  # attributes and keywords: in no scope
        self.classes: list[set[str]] = []
        self.is_taken = False
        cache = {FullyQualifiedNameProvider: self.where}
        MetadataWrapper(tree, unsafe_skip_copy=True, cache=cache).visit(self)
        if self.spans and self.is_taken:
            raise refused(self.new, f"it is already used in {path}")
        data = self.data
        for start, end in sorted(self.spans, reverse=True):
            new = data[start:end].replace(self.old.encode(), self.new.encode())
            data = data[:start] + new + data[end:]
        return data.decode()

    def edit(self, node: cst.CSTNode) -> int:
        span = self.get_metadata(ByteSpanPositionProvider, node)
        self.spans.add((span.start, span.start + span.length))
        return self.data.count(b"\n", 0, span.start) + 1

    def meanings(self, node: cst.CSTNode) -> set[str]:
        found = self.get_metadata(FullyQualifiedNameProvider, node, set())
        return {each.name.replace("<locals>.", "") for each in found}

    def leads(self, found: set[str]) -> bool:
        ours = found & self.ours
        if ours and (ours != found or ours & self.others):
            raise refused(self.old, f"in {self.path} it can be one of several things")
        return bool(ours)

    def visit_Name(self, node: cst.Name) -> None:
        if node.value == self.new and (self.is_method or node not in self.labels):
            self.is_taken = True
        elif node.value == self.old and node not in self.labels:
            # what no scope of the file defines comes by a star import, if from anywhere
            if self.leads(self.meanings(node) or {self.here}):
                self.edit(node)

    def visit_Attribute(self, node: cst.Attribute) -> None:
        self.labels.add(node.attr)
        if node.attr.value != self.old:
            return
        found = self.meanings(node)
        is_mine = self.classes and m.matches(node.value, MINE)
        if is_mine:
            found = {f"{name}.{self.old}" for name in self.classes[-1]}
        if self.leads(found):
            self.edit(node.attr)
        elif is_mine:
            self.is_only = False
        elif self.is_method and not found & self.others:
            if all(name.startswith(self.modules) for name in found):
                self.unsure.append(f"{self.path}:{self.edit(node.attr)}")

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self.classes.append(self.meanings(node))

    def leave_ClassDef(self, original_node: cst.ClassDef) -> None:
        self.classes.pop()

    def visit_Arg(self, node: cst.Arg) -> None:
        self.labels.add(node.keyword)

    def visit_MatchKeywordElement(self, node: cst.MatchKeywordElement) -> None:
        self.labels.add(node.key)

    def visit_Import(self, node: cst.Import | cst.ImportFrom) -> bool:
        self.is_taken |= bool(m.findall(node, m.Name(self.new)))
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        source = get_absolute_module_from_package_for_import(self.where.package, node)
        for alias in m.findall(node, m.ImportAlias(m.Name(self.old))):
            if self.leads({f"{source}.{self.old}"}):
                self.edit(alias.name)
                if alias.evaluated_alias == self.old:
                    self.edit(alias.asname.name)
        return self.visit_Import(node)

    def visit_Assign(self, node: cst.Assign | cst.AugAssign) -> None:
        if m.findall(node, ALL) and self.here in self.ours:
            for text in m.findall(node, m.SimpleString()):
                if text.evaluated_value == self.old:
                    self.edit(text)

    visit_AugAssign = visit_Assign

    def remarks(self, changed: Collection[str]) -> list[str]:
        """What a person should know; WorkbenchError when the rename is not to be trusted."""
        if not self.paths <= changed:
            raise refused(self.old, f"{', '.join(self.paths - changed)} cannot be changed")
        if not self.unsure:
            return []
        uses = f"on objects of unknown type: {', '.join(self.unsure)}"
        if not self.is_only:
            raise refused(
                self.old, f"others have a method or field of that name, and it is used {uses}"
            )
        return [f"Taken for it, as nothing else here is called so, {uses}."]
