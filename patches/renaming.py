"""Renames one definition and its uses across modules, for transforms.py only.

libcst's RenameCommand follows neither relative imports nor re-exports. Does not know star imports.
Invariant: a name changes only where it leads to the definition.
"""

import ast
import builtins
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from keyword import iskeyword
from pathlib import Path

import libcst as cst
import libcst.matchers as m
from libcst.helpers import calculate_module_and_package, get_absolute_module_from_package
from libcst.metadata import FullyQualifiedNameProvider, MetadataWrapper, PositionProvider

from shapes import WorkbenchError

MINE = m.Attribute(m.Name("self") | m.Name("cls"))
ALL = m.Assign([m.AssignTarget(m.Name("__all__"))]) | m.AugAssign(m.Name("__all__"))
COMMON = (str, bytes, list, dict, set, Path, io.TextIOWrapper)
# What source that cannot be handled raises.
FAILURES = (cst.ParserSyntaxError, cst.CSTLogicError, AttributeError, LookupError, MemoryError)
FAILURES += (RuntimeError, SyntaxError, TypeError, ValueError)
# The names of a file's module and package.
module_of = partial(calculate_module_and_package, "")


def refused(name: str, why: str) -> WorkbenchError:
    return WorkbenchError(f"`{name}` cannot be used: {why}.", "Name another, or its file or class.")


def _links(path: str, body: str) -> Iterator[tuple[str, str]]:
    """(name, what it stands for), by imports."""
    where = module_of(path)
    for node in ast.walk(ast.parse(body)):
        source = ""
        if isinstance(node, ast.ImportFrom):
            source = get_absolute_module_from_package(where.package, node.module, node.level)
        if isinstance(node, ast.Import | ast.ImportFrom):
            for each in node.names:
                meant = f"{source}.{each.name}".lstrip(".")
                yield f"{where.name}.{each.asname or each.name}", meant


def _words(node: cst.CSTNode, *trail: cst.CSTNode) -> Iterator[list[cst.CSTNode]]:
    """Every name, attribute and string after what it stands in, but keywords and modules."""
    if isinstance(node, cst.Name | cst.Attribute | cst.SimpleString):
        yield [*trail, node]
    labels = [getattr(node, field, None) for field in ("attr", "keyword", "module")]
    labels.append(isinstance(node, cst.MatchKeywordElement) and node.key)
    for child in node.children:
        if child not in labels:
            yield from _words(child, *trail, node)


class Rename(cst.MetadataDependent):
    """Called with each file's path and tree, it gives the file's new text."""

    METADATA_DEPENDENCIES = (PositionProvider, FullyQualifiedNameProvider)

    def __init__(self, payload: dict, bodies: dict[str, str]) -> None:
        super().__init__()
        self.new = payload["arguments"]["new"]
        known = payload["definitions"]
        kind, *kinds = [each["kind"] for each in known]
        name, *others = [f"{module_of(each['path']).name}.{each['qualname']}" for each in known]
        self.path, self.is_method = known[0]["path"], kind == "method"
        self.old = name.rpartition(".")[2]
        if not self.new.isidentifier() or iskeyword(self.new) or hasattr(builtins, self.new):
            raise refused(self.new, "it is Python's own, or no identifier")
        if self.is_method and kind in kinds:
            raise refused(self.old, "another class has a method of this name")
        self.links: set[tuple[str, str]] = set()
        for path, body in bodies.items():
            if re.search(r"^ *from .* import \*", body, re.M):
                raise refused(self.old, f"{path} may have it from a star import")
            with suppress(*FAILURES):
                self.links.update(_links(path, body))
        self.ours, new = set(), {name}
        while new and len(self.ours) < 200:  # re-exports can be circular
            self.ours |= new
            new = {
                link + name.removeprefix(source)
                for link, source in self.links
                for name in new
                if f"{name}.".startswith(f"{source}.")
            } - self.ours
        self.ours.difference_update(others)
        # an attribute can be taken for the method where nothing else is called so
        assigned = re.compile(rf"(?<!\.)\b{self.old}\s*[:=](?!=)|\.{self.old}\s*=(?!=)")
        known_elsewhere = any(hasattr(each, self.old) for each in COMMON)
        self.guess = not (others or known_elsewhere or any(map(assigned.search, bodies.values())))
        self.unsure: list[str] = []

    def __call__(self, path: str, tree: cst.Module) -> str:
        chosen, is_taken = set(), False
        cache = {FullyQualifiedNameProvider: module_of(path)}
        with self.resolve(MetadataWrapper(tree, unsafe_skip_copy=True, cache=cache)):
            for *trail, node in _words(tree):
                word = getattr(node, "attr", node)
                is_taken |= word.value == self.new
                if self.old not in (word.value, getattr(word, "raw_value", None)):
                    continue
                found = self.meanings(path, trail, node)
                if found & self.ours:
                    chosen.add(word)
                    if found - self.ours:
                        raise refused(self.old, f"in {path} it can be one of several things")
                elif self.is_method and word is not node:
                    line = self.get_metadata(PositionProvider, word).start.line
                    self.unsure.append(f"{path}:{line}")
                    chosen |= {word} if self.guess else set()
        if chosen and is_taken:
            raise refused(self.new, f"it is already used in {path}")
        return m.replace(
            tree,
            m.MatchIfTrue(chosen.__contains__),
            lambda node, _: node.with_changes(value=node.value.replace(self.old, self.new)),
        ).code

    def meanings(self, path: str, trail: list[cst.CSTNode], node: cst.CSTNode) -> set[str]:
        """The full names that a word can stand for."""
        where, within = module_of(path), {type(each): each for each in trail}
        here = {f"{where.name}.{self.old}"}
        if isinstance(node, cst.SimpleString):
            return here if any(m.matches(each, ALL) for each in trail) else set()
        if alias := within.get(cst.ImportAlias):
            name = f"{where.name}.{alias.evaluated_alias or alias.evaluated_name}"
            return {meant for known, meant in self.links if known == name}
        if cst.ClassDef in within and m.matches(node, MINE):
            return {f"{name}.{self.old}" for name in self.names(within[cst.ClassDef])}
        return here if cst.Global in within else self.names(node)

    def names(self, node: cst.CSTNode) -> set[str]:
        found = self.get_metadata(FullyQualifiedNameProvider, node, set())
        return {each.name.replace("<locals>.", "") for each in found}

    def check(self, changed: dict[str, str]) -> list[str]:
        """What a person should know; a WorkbenchError where not all of it could be renamed."""
        if self.path not in changed:
            raise refused(self.old, f"{self.path} cannot be changed")
        places = ", ".join(self.unsure)
        if places and not self.guess:
            raise refused(self.old, f"other things may be meant at {places}")
        return [f"Objects of unknown type, taken for its class: {places}."] if places else []
