"""The mechanical edits themselves, by jedi and ruff. Only imported in the child of child.py.

Invariant: a new text compiles, and is the old one byte for byte outside the edited places; a name
changes only where jedi follows it to the definition.
"""

import builtins
import re
import subprocess
import tempfile
import textwrap
from functools import partial
from keyword import iskeyword
from pathlib import Path

import jedi
import parso
from jedi.api.environment import InterpreterEnvironment
from ruff import find_ruff_bin

from patches.unified import canonical
from repo import Repo
from shapes import Change, Place, WorkbenchError

RULES = {"unused_imports": "F401", "unions": "UP007", "fstrings": "UP032"}
RUFF = "check --isolated --no-cache --fix-only --quiet --target-version=py310".split()


def run(asked: tuple[str, str, dict[str, str]]) -> tuple[str, list[str]]:
    root, kind, given = asked
    repo, path = Repo(Path(root)), given.get("path", "").strip("/")
    texts = {each: file.text for each in repo.files() if (file := repo.text(each))}
    python = [each for each in texts if each.endswith(".py")]
    files = [each for each in python if f"{each}/".startswith(f"{path}/".lstrip("/"))]
    after, remarks, seen, word = {}, [], {}, None
    if name := given.get("old", given.get("name")):
        found = [
            each
            for each in repo.index.symbols(name)
            if each.path in files and (each.kind != "variable" or kind == "rename")
        ]
        count = len({(each.path, each.qualname) for each in found})  # a property has two methods
        if count != 1:
            raise WorkbenchError(
                f"{count or 'No'} definitions of `{name}` are in {path or 'all files'}.",
                "Say which one: `in FILE`, or Class.method.",
            )
        home, old = found[0].path, found[0].name
    if kind == "rename":
        word = re.compile(rf"\b{old}\b")
        files = [each for each in python if word.search(texts[each])]
        edit = partial(_rename, repo.root, found, given["new"], seen)
    elif kind == "docstring":
        files, edit = [home], partial(_document, found[0], given["text"])
    else:
        edit = partial(_tidy, RULES[kind])
    with tempfile.TemporaryDirectory() as jedi.settings.cache_directory:
        for each in files:
            try:
                compile(texts[each].encode(), each, "exec")  # refuses what would crash a parser
                new = edit(each, texts[each])
                compile(new.encode(), each, "exec")
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                remarks.append(f"{each} was left alone: {str(error).partition(chr(10))[0]}.")
            else:
                after |= {each: new} if new != texts[each] else {}
    if word:
        if home not in after:
            raise WorkbenchError(f"`{name}` is not {home}'s own to rename.", " ".join(remarks))
        unsure = [at for at, is_unsure in seen.items() if is_unsure]
        if unsure:
            places = ", ".join(unsure)
            common = any(hasattr(each, old) for each in (str, bytes, list, dict, Path))
            if common or len(unsure) < len(seen):
                raise _refused(old, f"another thing may be meant at {places}")
            remarks.append(f"Objects of unknown type, taken for its class: {places}.")
        left = [
            f"{each}:{number}"
            for each, text in (texts | after).items()
            for number, line in enumerate(text.split("\n"), 1)
            if word.search(line)
        ]
        if left:
            places = ", ".join(left[:20])
            remarks.append(f"Lines that still say `{old}`: {len(left)} ({places}).")
    changes = (Change(each, "modify", text) for each, text in sorted(after.items()))
    return "".join(canonical(it, texts[it.path]) for it in changes), remarks


def _refused(name: str, why: str) -> WorkbenchError:
    return WorkbenchError(f"`{name}` cannot be used: {why}.", "Name another, or its file or class.")


def _rename(
    root: Path, known: list[Place], new: str, seen: dict[str, bool], path: str, text: str
) -> str:
    """Notes in `seen` where else the name stands, and whether that may be the method."""
    if not new.isidentifier() or iskeyword(new) or hasattr(builtins, new):
        raise _refused(new, "it is Python's own, or no identifier")
    old, wanted = known[0].name, {(root / each.path, each.line) for each in known}
    # no path but the project's: what is installed does not decide, and nothing is imported
    project = jedi.Project(root, sys_path=[], added_sys_path=[root / "src"])
    jedi.settings.dynamic_params = False  # a call does not decide what a parameter is
    # the name at the end asks what it is in the whole module
    probed, machine = f"{text}\n{old}", InterpreterEnvironment()
    script = jedi.Script(probed, path=root / path, project=project, environment=machine)

    def meant(*spot: int) -> set[tuple]:
        found = script.goto(*spot, follow_imports=True)
        return {(it.module_path, it.type not in ("module", "param") and it.line) for it in found}

    tree, chosen, doubts = parso.parse(text), False, []
    for leaf in tree.get_used_names().get(old, []):
        found, at = meant(*leaf.start_pos), f"{path}:{leaf.line}:{leaf.column + 1}"
        is_ours, is_attribute = found & wanted, leaf.get_previous_leaf() == "."
        is_loose = is_attribute and not found - {(root / path, leaf.line)}
        if is_ours:
            doubtful = found - wanted
        else:
            is_ours = seen[at] = is_loose and known[0].kind == "method"
            # what stands before = can be the name of an argument
            unknown = not (found or is_attribute or leaf.get_next_leaf() == "=")
            doubtful = unknown or (is_ours and leaf.is_definition())
        if is_ours:
            leaf.value, chosen = new, True
        doubts += [at] * bool(doubtful)
    code = tree.get_code()
    if meant() & wanted:
        code = re.sub(rf"""(__all__\s*\+?=[^\])]*['"]){old}(?=['"])""", rf"\g<1>{new}", code)
    # jedi cannot follow what these bind
    bound = re.search(rf"(?m)^\s*(global|nonlocal|case)\b.*\b{old}\b(?! *[(.=])", text)
    if chosen and (doubts or bound):
        raise _refused(old, f"it can be one of several things at {', '.join(doubts) or path}")
    if code != text and new in parso.parse(text).get_used_names():
        raise _refused(new, f"it is already used in {path}")
    return code


def _tidy(rule: str, path: str, text: str) -> str:
    command = [find_ruff_bin(), *RUFF, f"--select={rule}", "--stdin-filename", path, "-"]
    return subprocess.check_output(command, input=text.encode()).decode()


def _document(known: Place, words: str, path: str, text: str) -> str:
    tree, end = parso.parse(text), "\r\n" if "\r\n" in text else "\n"
    node = next(it for it in tree.get_used_names()[known.name] if it.line == known.line).parent
    block, old = node.children[-1], node.get_doc_node()
    first = (block.children[1] if block.type == "suite" else block).get_first_leaf()
    if block.type != "suite":
        first.prefix = end + " " * (node.start_pos[1] + 4)
    margin = first.prefix.split("\n")[-1]
    words = re.sub(r'"(?="")|"$', r'\\"', words.replace("\\", r"\\"))
    filled = textwrap.wrap(words, 94 - len(margin), break_long_words=False)
    quoted = f'"""{f"{end}{margin}".join(filled)}"""'
    if old:
        old.value = quoted
    else:
        first.value = f"{quoted}{end}{margin}{first.value}"
    return tree.get_code()
