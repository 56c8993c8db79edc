"""Judges placed changes: do they parse, do they compile, what does a person have to know.

Knows nothing of how a change was written down. Invariant: source is parsed in a limited child
process only, because hostile source can end libcst with a crash.
"""

import re

from patches.child import call
from patches.fit import Fitted, fit
from patches.read import find
from patches.unified import canonical
from repo import Repo
from shapes import Note, Verdict, WorkbenchError

FOREIGN = re.compile(r"^[ \t]*(?:from|import)[ \t]+(fastapi|jinja2|sqlalchemy)\b", re.M)
GUARDIAN = re.compile(r"supervisor/|workbench\.py$")


def preview(repo: Repo, text: str) -> Verdict:
    """What the edits in a diff or in a whole reply would make of the repository, and whether they
    may. Writes nothing, anywhere."""
    edits = [edit for segment in find(text) for edit in segment.edits]
    if not edits:
        return Verdict(
            False, "There is no edit in this text. Send a unified diff: ---, +++, then @@ hunks."
        )
    notes: list[Note] = []
    try:
        fitted = fit(repo, edits)
        notes += [each.note for each in fitted]
        notes += _parses(fitted)
    except WorkbenchError as error:
        return Verdict(False, str(error), (), tuple(notes))
    notes += _house_rules(fitted)
    diff = "".join(canonical(each.change, each.before) for each in fitted)
    return Verdict(True, "", tuple(each.change for each in fitted), tuple(notes), diff)


def _parses(fitted: list[Fitted]) -> list[Note]:
    """Every changed Python file must parse, unless it did not before."""
    python = [f for f in fitted if f.change.path.endswith(".py") and f.change.after is not None]
    if not python:
        return []
    sources = [(f.change.path, f.change.after, f.change.encoding) for f in python]
    sources += [(f.change.path, f.before, f.change.encoding) for f in python]
    found = call("patches.check:faults", sources)
    broken = []
    for each, fault, fault_before in zip(python, found, found[len(python) :]):
        if fault and not fault_before:
            raise WorkbenchError(
                f"{each.change.path} would not parse: {fault}",
                "Send the edit again with this mended.",
            )
        if fault:
            broken.append(Note("parses", False, f"{each.change.path} does not parse, as before"))
    return broken or [Note("parses", True, ", ".join(each.change.path for each in python))]


def faults(sources: list[tuple[str, str, str]]) -> list[str]:
    """The first fault of each (path, text, encoding), or "". Runs in the child. `compile` goes
    first: it refuses with an exception what would end libcst with a crash."""
    import libcst

    found = []
    for path, text, encoding in sources:
        fault = ""
        try:
            data = text.encode(encoding)
            compile(data, path, "exec", dont_inherit=True)
            libcst.parse_module(data)
        except SyntaxError as error:
            line = (error.text or "").rstrip("\n").expandtabs(1)
            caret = " " * max((error.offset or 1) - 1, 0) + "^"
            fault = f"{path}:{error.lineno}:{error.offset}: {error.msg}\n{line}\n{caret}"
        except (ValueError, RecursionError, MemoryError, libcst.ParserSyntaxError) as error:
            fault = f"{path}: {str(error).partition(chr(10))[0] or 'too deep'}"
        found.append(fault)
    return found


def _house_rules(fitted: list[Fitted]) -> list[Note]:
    """What is allowed, and is to be pointed at."""
    notes = []
    for each in fitted:
        path, after = each.change.path, each.change.after or ""
        new = sorted(set(FOREIGN.findall(after)) - set(FOREIGN.findall(each.before)))
        if path.endswith(".py") and new:
            text = f"{path} would import {', '.join(new)}: FastHTML is neither."
            notes.append(Note("house rule", False, text))
        if GUARDIAN.match(path) or GUARDIAN.match(each.change.old_path or ""):
            text = f"{path} guards the rest: read this change twice."
            notes.append(Note("guardian", False, text))
    return notes
