"""Mechanical edits of a whole repository as a diff: rename, tidy imports, modernise, document.

Knows nothing of who asks. Invariant: writes nothing; libcst runs in a child process.
"""

import re
from dataclasses import asdict

from patches.child import call
from patches.unified import canonical
from repo import Repo
from shapes import Change, WorkbenchError, plural

# What a file must say for an edit to be tried on it.
HINTS = {"fstrings": r"\.format\(|%s", "unions": r"\bUnion\["}


def rewrite(repo: Repo, kind: str, **arguments: str) -> tuple[str, list[str]]:
    """A git-applicable diff, "" when there is nothing to change, and what a person should know.

    Kinds: rename(old, new), unused_imports(), fstrings(), unions(), docstring(name, text). Each
    takes `path`, a file or a folder: where the definition stands, or else what to edit.
    WorkbenchError where the edit cannot be made exactly.
    """
    path = arguments.pop("path", "").strip("/")
    texts = {name: file.text for name in repo.files() if (file := repo.text(name))}
    python = {name: text for name, text in texts.items() if name.endswith(".py")}
    here = [name for name in python if f"{name}/".startswith(f"{path}/".lstrip("/"))]
    name = arguments.get("old", arguments.get("name", ""))
    last = name.rpartition(".")[2]
    found = [each for each in repo.index.symbols(last) if name and each.path in python]
    wanted = [
        each
        for each in found
        if each.path in here and f".{each.qualname}".endswith(f".{name}")
        # the uses of a field of a class cannot be told from others
        if each.kind != "variable" or (kind == "rename" and "." not in each.qualname)
    ]
    # a property has two methods
    names = {(each.path, each.qualname) for each in wanted}
    others = [each for each in found if (each.path, each.qualname) not in names]
    count = len(names if kind == "rename" else wanted)
    if name and count != 1:
        raise WorkbenchError(
            f"{count or 'No'} definitions of `{name}` are in {path or 'all files'}.",
            "Say which one: `in FILE`, or Class.method.",
        )
    hint, among = HINTS.get(kind, ""), [each.path for each in wanted] or here
    if kind == "rename":
        # a class can be handed on without its method's name
        hint, among = rf"\b({wanted[0].qualname.replace('.', '|')})\b", python
    payload = {
        "kind": kind,
        "arguments": arguments,
        "files": {each: python[each] for each in among if re.search(hint, python[each])},
        "definitions": [asdict(each) for each in [*wanted[:1], *others]],
    }
    answer = call("patches.transforms:run", payload, timeout_s=60)
    after, remarks = answer["files"], answer["remarks"]
    left = [
        f"{each}:{number}"
        for each, text in (texts | after).items()
        for number, line in enumerate(text.split("\n"), 1)
        if kind == "rename" and re.search(rf"\b{last}\b", line)
    ]
    if left:
        remarks.append(f"`{last}` is still in {plural(len(left), 'line')}: {', '.join(left[:20])}.")
    changes = (Change(each, "modify", text) for each, text in sorted(after.items()))
    return "".join(canonical(each, python[each.path]) for each in changes), remarks
