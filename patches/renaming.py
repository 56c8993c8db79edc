"""Renames one definition and its uses across modules. Only imported in the child process.

libcst's RenameCommand drops `as` names and follows neither relative imports nor re-exports, so this
takes scopes from libcst and edits bytes. Invariant: a name changes only where it leads to the
definition; a method of an object of unknown type only where nothing else can be called so, and
`guessed` tells where.
"""

import ast
import builtins
import io
import keyword
import re
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable

import libcst as cst
import libcst.matchers as m
from libcst.helpers import ModuleNameAndPackage, get_full_name_for_node
from libcst.metadata import ByteSpanPositionProvider, FullyQualifiedNameProvider, MetadataWrapper

from shapes import WorkbenchError

# A method called like one of theirs may well be theirs.
COMMON = (str, bytes, list, dict, set, re.Pattern, io.TextIOWrapper, socket.socket)
COMMON += (subprocess.Popen, threading.Thread, threading.Event)
MOST_LINKS = 200


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def package_of(path: str) -> str:
    return path.rpartition("/")[0].replace("/", ".")


class Names:
    """Where a dotted name leads: through imports, re-exports and base classes."""

    def __init__(self, paths: list[str], bodies: dict[str, str]) -> None:
        self.modules = tuple(f"{module_of(path)}." for path in paths)
        self.assigned: set[str] = set()  # attributes that something is assigned to
        self._links: dict[str, set[str]] = defaultdict(set)
        self._reached: dict[str, set[str]] = {}
        for path in paths:
            folders = path.split("/")[:-1]
            for depth in range(1, len(folders) + 1):
                # a folder that is no package can be on sys.path
                name = ".".join(module_of(path).split(".")[depth:])
                package = "/".join([*folders[:depth], "__init__.py"]) in paths
                if name and not package and name.split(".")[0] not in sys.stdlib_module_names:
                    self._links[name].add(module_of(path))
        for path, body in bodies.items():
            try:
                nodes = list(ast.walk(ast.parse(body)))
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue  # the caller names it
            for node in nodes:
                self._learn(path, node)

    def _learn(self, path: str, node: ast.AST) -> None:
        module, found = module_of(path), []
        match node:
            case ast.Attribute(attr=name, ctx=ast.Store()):
                self.assigned.add(name)
            case ast.Import(names=names):
                tops = [alias.name.partition(".")[0] for alias in names]
                found = [(a.asname or t, a.name if a.asname else t) for a, t in zip(names, tops)]
            case ast.ImportFrom(names=names, module=name, level=level):
                source = source_of(path, name, level)
                found = [(a.asname or a.name, f"{source}.{a.name}") for a in names]
                if names[0].name == "*":
                    self._links[module].add(source)
            case ast.ClassDef(name=name, bases=bases):
                found = [(name, f"{module}.{ast.unparse(base)}") for base in bases]
        for name, to in found:
            self._links[f"{module}.{name}"].add(to)

    def reach(self, name: str) -> set[str]:
        """The name itself and all that it may lead to."""
        if name not in self._reached:
            seen, waiting = {name}, [name]
            while waiting and len(seen) < MOST_LINKS:  # re-exports can be circular
                parts = waiting.pop(0).split(".")
                for end in range(1, len(parts) + 1):
                    links = self._links.get(".".join(parts[:end]), ())
                    new = {".".join([to, *parts[end:]]) for to in links} - seen
                    seen |= new
                    waiting += new
            self._reached[name] = seen
        return self._reached[name]


def source_of(path: str, module: str | None, level: int) -> str:
    """The module that `from <level dots><module> import` reads."""
    parts = path.split("/")[:-level] if level else []
    return ".".join([*parts, module] if module else parts)


def the_one(name: str, found: list, places: Iterable[str]) -> object:
    """What is found, if it is one; WorkbenchError when there are none or several."""
    if len(found) == 1:
        return found[0]
    if found:
        raise WorkbenchError(
            f"`{name}` is defined in several places: {', '.join(places)}.",
            "Say which one: add `in FILE`, or write Class.method.",
        )
    raise WorkbenchError(
        f"No definition of `{name}` is found there.", "Check the spelling and the file."
    )


class Rename:
    """Called with each file's path and tree, it gives the file's new text."""

    def __init__(self, old: str, new: str, names: Names, definitions: list[dict]) -> None:
        if not new.isidentifier() or keyword.iskeyword(new) or hasattr(builtins, new):
            raise WorkbenchError(
                f"`{new}` cannot be the name: it is Python's own, or no identifier.",
                "Choose a name of letters, digits and underscores.",
            )
        self.old, self.new, self.names = old.rpartition(".")[2], new, names
        known = {f"{module_of(each['path'])}.{each['qualname']}": each for each in definitions}
        families: list[set[str]] = []  # a method and its overrides change together
        for name in known:
            near = [
                family
                for family in families
                if family & names.reach(name) or any(name in names.reach(each) for each in family)
            ]
            families = [each for each in families if each not in near] + [{name}.union(*near)]
        wanted = [each for each in families if any(known[name]["wanted"] for name in each)]
        places = [f"{each['path']}:{each['line']}" for each in definitions]
        self.targets: set[str] = the_one(old, wanted, places)
        self.others = known.keys() - self.targets
        self.paths = {known[name]["path"] for name in self.targets}
        inner = {known[name]["kind"] for name in self.targets if "." in known[name]["qualname"]}
        if "variable" in inner:
            raise WorkbenchError(
                f"`{old}` is a field of a class: its uses cannot be told from other attributes.",
                "Functions, classes, methods and variables of a module can be renamed.",
            )
        self.is_method = "method" in inner
        common = self.old in names.assigned or any(hasattr(kind, self.old) for kind in COMMON)
        self.can_guess = self.is_method and not self.others and not common
        self.guessed: list[str] = []

    def leads(self, name: str) -> bool:
        return name not in self.others and not self.targets.isdisjoint(self.names.reach(name))

    def is_ours(self, name: str) -> bool:
        return any(each.startswith(self.names.modules) for each in self.names.reach(name))

    def __call__(self, path: str, tree: cst.Module) -> str:
        package = package_of(path)
        cache = {FullyQualifiedNameProvider: ModuleNameAndPackage(module_of(path), package)}
        uses = _Uses(self, path)
        MetadataWrapper(tree, unsafe_skip_copy=True, cache=cache).visit(uses)
        data = tree.code.encode()

        def at(start: int) -> str:
            line = data.count(b"\n", 0, start) + 1
            return f"{path}:{line}"

        if uses.edits and uses.clash is not None:
            raise WorkbenchError(
                f"`{self.new}` is already used in {at(uses.clash)}.", "Choose another name."
            )
        self.guessed += map(at, uses.guesses)
        for start, (end, text) in sorted(uses.edits.items(), reverse=True):
            data = data[:start] + text.encode() + data[end:]
        return data.decode()


class _Uses(cst.CSTVisitor):
    """The places in one file to edit: byte offset -> (end, new text)."""

    METADATA_DEPENDENCIES = (ByteSpanPositionProvider, FullyQualifiedNameProvider)

    def __init__(self, rename: Rename, path: str) -> None:
        super().__init__()
        self.rename, self.path, self.old = rename, path, rename.old
        self.here = f"{module_of(path)}.{rename.old}"
        self.edits: dict[int, tuple[int, str]] = {}
        self.guesses: list[int] = []
        self.clash: int | None = None
        self.classes: list[str] = []
        self.labels: set[cst.CSTNode | None] = set()  # attributes and keywords: in no scope

    def start(self, node: cst.CSTNode) -> int:
        return self.get_metadata(ByteSpanPositionProvider, node).start

    def edit(self, node: cst.Name | cst.SimpleString) -> None:
        text = re.sub(rf"(?<![\w.]){self.old}\b", self.rename.new, node.value)
        length = self.get_metadata(ByteSpanPositionProvider, node).length
        self.edits[self.start(node)] = (self.start(node) + length, text)

    def edit_strings(self, nodes: Iterable[cst.CSTNode]) -> None:
        if not self.rename.is_method and self.rename.leads(self.here):
            for node in nodes:
                self.edit(node)

    def meanings(self, node: cst.CSTNode) -> set[str]:
        found = self.get_metadata(FullyQualifiedNameProvider, node, set())
        return {each.name.replace("<locals>.", "") for each in found}

    def visit_Name(self, node: cst.Name) -> None:
        is_label = node in self.labels
        if node.value == self.rename.new and (self.rename.is_method or not is_label):
            self.clash = self.start(node)
        elif node.value == self.old and not is_label:
            # what no scope of the file defines comes by a star import, if from anywhere
            leads = {self.rename.leads(name) for name in self.meanings(node) or {self.here}}
            if len(leads) > 1:
                raise WorkbenchError(
                    f"In {self.path} `{self.old}` can be one of several things.",
                    "Change that file by hand first.",
                )
            if True in leads:
                self.edit(node)

    def visit_Attribute(self, node: cst.Attribute) -> None:
        self.labels.add(node.attr)
        if node.attr.value != self.old:
            return
        found = self.meanings(node)
        mine = m.Name("self") | m.Name("cls") | m.Call(m.Name("super"))
        is_mine = bool(self.classes) and m.matches(node.value, mine)
        if is_mine:
            found = {".".join([module_of(self.path), *self.classes, self.old])}
        if any(map(self.rename.leads, found)):
            self.edit(node.attr)
        elif self.rename.can_guess and not is_mine and all(map(self.rename.is_ours, found)):
            self.edit(node.attr)
            self.guesses.append(self.start(node.attr))

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self.classes.append(node.name.value)

    def leave_ClassDef(self, original_node: cst.ClassDef) -> None:
        self.classes.pop()

    def visit_Arg(self, node: cst.Arg) -> None:
        self.labels.add(node.keyword)

    def visit_MatchKeywordElement(self, node: cst.MatchKeywordElement) -> None:
        self.labels.add(node.key)

    def visit_Nonlocal(self, node: cst.Nonlocal) -> bool:
        return False

    def visit_Import(self, node: cst.Import) -> bool:
        self.visit_aliases(node.names, "")
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        name = get_full_name_for_node(node.module) if node.module else None
        if not isinstance(node.names, cst.ImportStar):
            self.visit_aliases(node.names, source_of(self.path, name, len(node.relative)))
        return False

    def visit_aliases(self, aliases: Iterable[cst.ImportAlias], source: str) -> None:
        for alias in aliases:
            name, bound = alias.evaluated_name, alias.evaluated_alias
            if (bound or name) == self.rename.new:
                self.clash = self.start(alias)
            if name == self.old and self.rename.leads(f"{source}.{name}"):
                self.edit(alias.name)
                if bound == name:
                    self.edit(alias.asname.name)

    def visit_Assign(self, node: cst.Assign) -> None:
        if m.matches(node, m.Assign(targets=[m.AssignTarget(m.Name("__all__"))])):
            self.edit_strings(m.findall(node.value, m.SimpleString()))

    def visit_AugAssign(self, node: cst.AugAssign) -> None:
        if m.matches(node.target, m.Name("__all__")):
            self.edit_strings(m.findall(node.value, m.SimpleString()))

    def visit_Annotation(self, node: cst.Annotation) -> None:
        literal = m.Name("Literal") | m.Attribute(attr=m.Name("Literal"))
        data = {
            text
            for each in m.findall(node, m.Subscript(value=literal))
            for text in m.findall(each, m.SimpleString())
        }
        self.edit_strings(set(m.findall(node, m.SimpleString())) - data)
