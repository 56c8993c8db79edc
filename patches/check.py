"""Judges placed changes: do they parse, do they compile, what does a person have to know.

Knows nothing of how a change was written down. Invariant: source is parsed in a limited child
process only, because hostile source can end libcst with a crash.
"""

import re

from patches.child import call
from patches.fit import Refused, fit
from patches.read import find
from patches.unified import canonical
from repo import Repo
from shapes import Change, Note, Verdict, WorkbenchError

FOREIGN = re.compile(r"^[ \t]*(?:from|import)[ \t]+(fastapi|jinja2|sqlalchemy)\b", re.M)
KEEPERS = re.compile(r"(supervisor/.*|workbench\.py)")


def preview(repo: Repo, text: str) -> Verdict:
    """What the edits in a diff or in a whole reply would make of the repository, and whether they
    may. Writes nothing, anywhere."""
    edits = [edit for segment in find(text) for edit in segment.edits]
    if not edits:
        return Verdict(
            False, "There is no edit in this text. Send a unified diff: ---, +++, then @@ hunks."
        )
    changes: list[Change] = []
    notes: list[Note] = []
    try:
        changes, notes = fit(repo, edits)
        before = {change.path: _before(repo, change) for change in changes}
        notes += _parses(changes, before)
    except (Refused, WorkbenchError) as error:
        return Verdict(False, str(error), (), tuple(notes))
    notes += _house_rules(changes, before)
    diff = "".join(canonical(change, before[change.path]) for change in changes)
    return Verdict(True, "", tuple(changes), tuple(notes), diff)


def _before(repo: Repo, change: Change) -> str:
    file = None if change.action == "create" else repo.text(change.old_path or change.path)
    return file.text if file else ""


def _parses(changes: list[Change], before: dict[str, str]) -> list[Note]:
    """Every changed Python file must parse, unless it did not before."""
    sources = {c.path: c.after for c in changes if c.path.endswith(".py") and c.after is not None}
    if not sources:
        return []
    older = {path: before[path] for path in sources if before[path]}
    faults = call("patches.check:faults", {"after": sources, "before": older})
    for path, fault in faults["after"].items():
        if not older.get(path) or path not in faults["before"]:
            raise Refused(
                f"{path} would not parse: {fault}", "Send the edit again with this mended."
            )
    broken = [path for path in faults["after"]]
    if broken:
        return [Note("parses", False, f"{path} does not parse, as before") for path in broken]
    return [Note("parses", True, ", ".join(sources))]


def faults(groups: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The first fault of each source that has one; runs in the child. `compile` goes first: it
    refuses with an exception what would end libcst with a crash."""
    import libcst

    found: dict[str, dict[str, str]] = {name: {} for name in groups}
    for name, sources in groups.items():
        for path, text in sources.items():
            try:
                compile(text.encode("utf-8"), path, "exec", dont_inherit=True)
                libcst.parse_module(text)
            except SyntaxError as error:
                line = (error.text or "").rstrip("\n").expandtabs(1)
                caret = " " * max((error.offset or 1) - 1, 0) + "^"
                place = f"{path}:{error.lineno}:{error.offset}: {error.msg}"
                found[name][path] = f"{place}\n{line}\n{caret}"
            except (ValueError, RecursionError, MemoryError, libcst.ParserSyntaxError) as error:
                found[name][path] = (
                    f"{path}: {str(error).splitlines()[0] if str(error) else 'too deep'}"
                )
    return found


def _house_rules(changes: list[Change], before: dict[str, str]) -> list[Note]:
    """What is allowed, and is to be pointed at."""
    notes = []
    for change in changes:
        was = set(FOREIGN.findall(before[change.path]))
        new = sorted(set(FOREIGN.findall(change.after or "")) - was)
        if change.path.endswith(".py") and new:
            text = f"{change.path} would import {', '.join(new)}: FastHTML is neither."
            notes.append(Note("house rule", False, text))
        if KEEPERS.fullmatch(change.path) or KEEPERS.fullmatch(change.old_path or ""):
            text = f"{change.path} guards the rest: read this change twice."
            notes.append(Note("guardian", False, text))
    return notes
