"""Judges placed changes: do they parse, do they compile, what does a person have to know.

Knows nothing of how a change was written down. Invariant: source is parsed in a limited child
process only, because hostile source can end libcst with a crash.
"""

import re
from collections.abc import Iterator

from patches.child import call
from patches.fit import Fitted, fit
from patches.read import find
from patches.unified import canonical
from repo import Repo
from shapes import Note, Verdict, WorkbenchError

FOREIGN = re.compile(r"^[ \t]*(?:from|import)[ \t]+(fastapi|jinja2|sqlalchemy)\b", re.M)
GUARDIAN = re.compile(r"supervisor/|workbench\.py$")


def preview(repo: Repo, text: str) -> Verdict:
    """What the edits in a diff or a reply would make of the repository. Writes nothing."""
    edits = [edit for segment in find(text) for edit in segment.edits]
    if not edits:
        return Verdict(False, "There is no edit in this text. Send a unified diff.")
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
    pairs = [(f.change, text) for f in python for text in (f.change.after, f.before)]
    found = call("patches.check:faults", [(c.path, text, c.encoding) for c, text in pairs])
    broken = []
    for each, fault, fault_before in zip(python, found[::2], found[1::2]):
        path = each.change.path
        if fault and not fault_before:
            raise WorkbenchError(f"{path} would not parse: {fault}", "Send it again, mended.")
        if fault:
            broken.append(Note("parses", False, f"{path} does not parse, as before"))
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
            caret = "^".rjust(error.offset or 1)
            fault = f"{path}:{error.lineno}:{error.offset}: {error.msg}\n{line}\n{caret}"
        except (ValueError, RecursionError, MemoryError, libcst.ParserSyntaxError) as error:
            fault = f"{path}: {str(error) or 'too deep'}"
        found.append(fault)
    return found


def _house_rules(fitted: list[Fitted]) -> Iterator[Note]:
    """What is allowed, and is to be pointed at."""
    for each in fitted:
        path, after = each.change.path, each.change.after or ""
        new = set(FOREIGN.findall(after)) - set(FOREIGN.findall(each.before))
        if path.endswith(".py") and new:
            yield Note("house rule", False, f"{path} would import {', '.join(sorted(new))}.")
        if GUARDIAN.match(path) or GUARDIAN.match(each.change.old_path or ""):
            yield Note("guardian", False, f"{path} guards the rest: read this change twice.")
