"""Mechanical edits of a whole repository as a diff: rename, tidy imports, modernise, document.

Knows nothing of how an edit is asked for. Invariant: writes nothing, and never imports libcst: the
edits themselves are made by patches/transforms.py in a limited child process.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict

from patches.child import call
from patches.unified import canonical
from repo import Index, Repo
from shapes import Change, SourceFile, WorkbenchError

# What a file must say before an edit of this kind is tried on it.
HINTS = {
    "unused_imports": r"\bimport\b",
    "fstrings": r"\.format\(|%s",
    "unions": r"\b(Union|Optional)\[",
}
TIMEOUT_S = 60
SHOWN = 20


def rewrite(repo: Repo, kind: str, **arguments: str) -> tuple[str, list[str]]:
    """A git-applicable diff, "" when there is nothing to change, and what a person should know.

    Kinds: rename(old, new), unused_imports(), fstrings(), unions(), docstring(name, text). Each
    takes `path`, a file or a folder: where the definition stands, or else what to edit.
    WorkbenchError, with the reason, where the edit cannot be made exactly.
    """
    path = arguments.pop("path", "").strip("/")
    texts = {name: file for name in repo.files() if (file := repo.text(name))}
    python = {name: file for name, file in texts.items() if name.endswith(".py")}
    here = [name for name in python if not path or f"{name}/".startswith(f"{path}/")]
    if not here:
        raise WorkbenchError(
            f"There is no Python file {path}." if path else "There is no Python file here.",
            "Name a tracked file or folder, as in src/app.py.",
        )
    name = arguments.get("old") or arguments.get("name") or ""
    last = name.rpartition(".")[2]
    found = [each for each in Index(repo).symbols(last) if name and each.path in python]
    wanted = [
        each for each in found if each.path in here and f".{each.qualname}".endswith(f".{name}")
    ]
    if kind == "rename":
        # a star import or a subclass can hand the name on without saying it
        words = {last, *(part for each in found for part in each.qualname.split("."))}
        hint, among = rf"\b({'|'.join(map(re.escape, words))})\b|import \*", list(python)
    elif kind == "docstring":
        hint, among = "", {each.path for each in wanted}
    else:
        hint, among = HINTS[kind], here
    payload = {
        "kind": kind,
        "arguments": arguments,
        "paths": list(python),
        "files": {each: python[each].text for each in among if re.search(hint, python[each].text)},
        "definitions": [asdict(each) | {"wanted": each in wanted} for each in found],
    }
    answer = call("patches.transforms:run", payload, TIMEOUT_S)
    after, remarks = answer["files"], answer["remarks"]
    if kind == "rename":
        left = list(_mentions(texts, after, last))
        if left:
            more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
            remarks.append(
                f"Left as they are, because they are words, or may be something else that is "
                f"called `{name}`: {', '.join(left[:SHOWN])}{more}."
            )
    changes = [Change(each, "modify", after[each]) for each in sorted(after)]
    return "".join(canonical(each, python[each.path].text) for each in changes), remarks


def _mentions(texts: dict[str, SourceFile], after: dict[str, str], name: str) -> Iterator[str]:
    word = re.compile(rf"\b{re.escape(name)}\b")
    for path, file in texts.items():
        for number, line in enumerate(after.get(path, file.text).split("\n"), 1):
            if word.search(line):
                yield f"{path}:{number}"
