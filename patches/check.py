"""Judges placed changes: do they parse, do they compile, what does a person have to know.

Knows nothing of how a change was written down. Invariant: source is parsed in a limited child
process only, because hostile source can end libcst with a crash.
"""

import traceback

from patches.child import call
from patches.fit import Fitted, fit
from patches.read import find
from patches.unified import canonical
from repo import Repo
from shapes import Note, Verdict, WorkbenchError


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
    diff = "".join(canonical(each.change, each.before) for each in fitted)
    return Verdict(True, "", tuple(each.change for each in fitted), tuple(notes), diff)


def _parses(fitted: list[Fitted]) -> list[Note]:
    """Every changed Python file must parse, unless it did not before."""
    python = [f for f in fitted if f.change.path.endswith(".py") and f.change.after is not None]
    if not python:
        return []
    pairs = [(f.change, text) for f in python for text in (f.change.after, f.before)]
    found = call("patches.check:faults", [(c.path, text, c.encoding) for c, text in pairs])
    notes = []
    for each, fault, fault_before in zip(python, found[::2], found[1::2]):
        path = each.change.path
        if fault and not fault_before:
            raise WorkbenchError(f"{path} would not parse: {fault}", "Send it again, mended.")
        text = f"{path} does not parse, as before" if fault else path
        notes.append(Note("parses", not fault, text))
    return notes


def faults(sources: list[tuple[str, str, str]]) -> list[str]:
    """The first fault of each (path, text, encoding), or "". Runs in the child. `compile` goes
    first: it refuses with an exception what would end libcst with a crash."""
    from libcst import ParserSyntaxError, parse_module

    found = []
    for path, text, encoding in sources:
        fault = ""
        try:
            data = text.encode(encoding)
            compile(data, path, "exec", dont_inherit=True)
            parse_module(data)
        except (SyntaxError, ValueError, RecursionError, MemoryError, ParserSyntaxError) as error:
            fault = "".join(traceback.format_exception_only(error)).strip()
        found.append(fault)
    return found
