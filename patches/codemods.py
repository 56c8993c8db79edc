"""Mechanical edits of a whole repository as a diff: rename, tidy imports, modernise, document.

Knows nothing of how an edit is asked for. Invariant: writes nothing, and never imports libcst: the
edits themselves are made by patches/transforms.py in a limited child process.
"""

import re
from dataclasses import asdict

from patches.child import call
from patches.unified import canonical
from repo import Index, Repo
from shapes import Change, WorkbenchError

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
    texts = {name: file.text for name in repo.files() if (file := repo.text(name))}
    python = {name: text for name, text in texts.items() if name.endswith(".py")}
    here = [name for name in python if f"{name}/".startswith(f"{path}/".lstrip("/"))]
    name = arguments.get("old") or arguments.get("name") or ""
    last = name.rpartition(".")[2]
    found = [each for each in Index(repo).symbols(last) if name and each.path in python]
    wanted = [
        each
        for each in found
        if each.path in here and f".{each.qualname}".endswith(f".{name}")
        # the uses of a field of a class cannot be told from others
        if each.kind != "variable" or (kind == "rename" and "." not in each.qualname)
    ]
    if not here or (name and not wanted):
        what = f"definition of `{name}`" if name else "Python file"
        raise WorkbenchError(
            f"No {what} is found in {path or 'this repository'}.",
            "Check the spelling and the file.",
        )
    if kind == "rename":
        # a star import or a subclass can hand the name on without saying it
        words = {part for each in found for part in each.qualname.split(".")}
        hint, among = rf"\b({'|'.join(words)})\b|import \*", python
    else:
        hint, among = HINTS.get(kind, ""), here if kind in HINTS else {each.path for each in wanted}
    payload = {
        "kind": kind,
        "arguments": arguments,
        "paths": list(python),
        "files": {each: python[each] for each in among if re.search(hint, python[each])},
        "definitions": [asdict(each) | {"wanted": each in wanted} for each in found],
    }
    answer = call("patches.transforms:run", payload, TIMEOUT_S)
    after, remarks = answer["files"], answer["remarks"]
    if kind == "rename":
        left = [
            f"{each}:{number}"
            for each, text in (texts | after).items()
            for number, line in enumerate(text.split("\n"), 1)
            if re.search(rf"\b{last}\b", line)
        ]
        if left:
            remarks.append(
                f"Left as they are, because they are words, or may be something else that is "
                f"called `{name}`: {', '.join(left[:SHOWN])}{', ...' * (len(left) > SHOWN)}."
            )
    changes = [Change(each, "modify", after[each]) for each in sorted(after)]
    return "".join(canonical(each, python[each.path]) for each in changes), remarks
