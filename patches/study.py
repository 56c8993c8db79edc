"""What a change means: faults, names, imports, house rules, tests, symbols, size.

Runs only in the child of patches/child.py: hostile source can end a parser with a crash. Knows the
source of no other file. Invariant: none is imported or run.
"""

import ast
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from traceback import format_exception_only

import yaml
from libcst import ParserSyntaxError, parse_module

from repo import Repo
from shapes import Change, WorkbenchError

Finding = tuple[str, bool, str]  # a Note's fields
Facts = dict[tuple[str, str, str], str]  # kind, name and source: place
BROKEN = (SyntaxError, ValueError, RecursionError, MemoryError)
RULE = re.compile(r"^- (never import|asks twice|keep) ((?:`[^`]+`[, ]*)+): (.*)", re.M)
TEST = re.compile(r"(^|/)(tests?/|test_|conftest\.py)|_test\.py")
READERS = {
    # compile refuses what would end libcst with a crash
    "py": lambda data: (compile(data, "the edit", "exec"), parse_module(data)),
    "json": json.loads,
    "toml": lambda data: tomllib.loads(data.decode()),
    "yaml": lambda data: list(yaml.parse(data, yaml.CSafeLoader)),
}


def study(payload: dict) -> tuple[list[Finding], dict[str, str]]:
    """What there is to say of a change, and the places of the names that it removes.

    WorkbenchError for a file that parses no more.
    """
    repo = Repo(Path(payload["root"]))
    found, old, new, paths, sizes = [], {}, {}, {}, Counter()
    for change, before in ((Change(**change), before) for change, before in payload["files"]):
        path, source = change.path, change.old_path or change.path
        found += _parses(change, before)
        _note(old, source, before)
        _note(new, path, change.after or "")
        paths |= {source: source, path: path}
        sizes[source.split("/")[0]] -= len(before)
        sizes[path.split("/")[0]] += len(change.after or "")
    gone = {fact: place for fact, place in old.items() if fact not in new}
    fresh = {fact: place for fact, place in new.items() if fact not in old}
    was, now, imports = _named(gone, "symbol"), _named(fresh, "symbol"), _named(fresh, "import")
    removed = {name: was[name] for name in was if name not in now}
    found += _imports([*repo.files(), *paths], imports)
    found += _rules(repo, {"asks twice": paths, "never import": imports, "keep": removed})
    found += _tests(gone, fresh, removed)
    words = {"adds": now.keys() - was, "changes": was.keys() & now, "removes": removed}
    for verb, names in words.items():
        found += [("symbols", True, f"{verb} {', '.join(sorted(names))}")] * bool(names)
    rooms = ", ".join(f"{size / 4:+,.0f} in {room}" for room, size in sizes.items())
    found.append(("size", True, f"tokens, estimated as characters / 4: {rooms}"))
    return found, removed


def _named(facts: Facts, kind: str) -> dict[str, str]:
    return {fact[1]: place for fact, place in facts.items() if fact[0] == kind}


def _parses(change: Change, before: str) -> Iterator[Finding]:
    """Every changed file must parse, unless it did not before."""
    path, after, encoding = change.path, change.after or "", change.encoding
    if path.endswith(".md") and len(re.findall("^ *(?:```|~~~)", after, re.M)) % 2:
        yield "parses", False, f"{path}: a fence is never closed"
    read = READERS.get(path.rpartition(".")[2].replace("yml", "yaml"))
    if read and change.action != "delete":
        fault = _fault(read, after, encoding)
        # a new file of settings may be a dialect, with comments or templates
        if fault and (not _fault(read, before, encoding) if before else path.endswith(".py")):
            raise WorkbenchError(f"{path} would not parse: {fault}.", "Send it again, mended.")
        yield "parses", not fault, f"{path}{' does not parse' * bool(fault)}"


def _fault(read: Callable[[bytes], object], text: str, encoding: str) -> str:
    """Where and why source does not parse, with a caret under the line; "" when it does."""
    try:
        read(text.encode(encoding))
    except (*BROKEN, ParserSyntaxError, yaml.YAMLError) as error:
        if places := re.findall(r"line (\d+),? column (\d+)", str(error)):
            row, column = map(int, places[-1])
            line = "".join(text.split("\n")[row - 1 : row])
            error = SyntaxError(str(error), ("the edit", row, column, line))
        return "".join(format_exception_only(error)).strip()[-600:]  # a line can be long
    return ""


def _note(facts: Facts, path: str, text: str) -> None:
    """What a Python file defines and imports, and what a test asks or skips."""
    lines = re.split(r"\r\n?|\n", text.removeprefix("\ufeff"))
    try:
        nodes = [(ast.parse("\n".join(lines) if path.endswith(".py") else ""), "")]
    except BROKEN:
        return
    for node, inside in nodes:
        line, end = getattr(node, "lineno", 1), getattr(node, "end_lineno", 1)
        kind, name = "", inside
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                kind, name = "symbol", f"{inside}.{node.name}".lstrip(".")
                end, inside = line if isinstance(node, ast.ClassDef) else end, name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                kind = "" if inside else "symbol"
            case ast.Import() | ast.ImportFrom(level=0):
                module = getattr(node, "module", "")
                for it in node.names:
                    facts["import", f"{module}.{it.name}".lstrip("."), ""] = f"{path}:{line}"
            case ast.Attribute(attr="skip" | "skipif" | "skipIf" | "xfail" | "expectedFailure"):
                kind = "skips"
            case ast.Assert():
                kind = "asks"
            case ast.Call(func=ast.Attribute(attr=word)) if word[:6] in ("assert", "raises"):
                kind = "asks"
        if kind == "symbol" or (kind and TEST.search(path)):
            said = " ".join(" ".join(lines[line - 1 : end]).split())
            while (kind, name, said) in facts:
                said += " "  # the same again
            facts[kind, name, said] = f"{path}:{line}"
        nodes += [(child, inside) for child in ast.iter_child_nodes(node)]


def _imports(files: list[str], added: dict[str, str]) -> Iterator[Finding]:
    for full, place in added.items():
        top = full.split(".")[0]
        ours = re.compile(rf"(.*/)?{top}(/|\.py$)")
        if not (find_spec(top) or any(map(ours.match, files))):
            yield "imports", False, f"{place}: {top} is not found in this environment"


def _rules(repo: Repo, done: dict[str, dict[str, str]]) -> Iterator[Finding]:
    """What the repository's rules files, as they are now, say of imports, paths and names."""
    rules = repo.text("context/rules.md"), repo.text(".workbench/rules.md")
    for verb, items, why in RULE.findall("".join(file.text for file in rules if file)):
        for item in re.findall("`(.+?)/?`", items):
            for key, place in done[verb].items():
                if re.match(rf"{re.escape(item)}([./]|$)", key):
                    check = verb if verb == "asks twice" else "house rules"
                    yield check, False, f"{place}: {verb} {item}, {why}"


def _tests(gone: Facts, fresh: Facts, removed: dict[str, str]) -> Iterator[Finding]:
    """What is tested no more, or otherwise."""
    told = [(place, f"{name} is skipped") for name, place in _named(fresh, "skips").items()]
    told += [(place, f"{name} is gone") for name, place in removed.items() if TEST.search(place)]
    for (kind, name, said), place in gone.items():
        if kind == "asks" and name not in removed:
            now = " ".join(f"`{it[2]}`" for it in fresh if it[:2] == (kind, name))
            told.append((place, f"{name}: `{said.strip()}` is now {now or 'gone'}"))
    return (("tests changed", False, f"{place} {what}") for place, what in told)
