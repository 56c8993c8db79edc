"""Judges placed changes: may they be applied, and what does a person have to know.

Knows nothing of how a change was written down. Invariant: what a model wrote is parsed in
child processes only.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from patches.child import call
from patches.fit import Fitted, fit
from patches.read import find
from patches.unified import canonical
from repo import Repo
from shapes import Note, Verdict, WorkbenchError

RUFF = [sys.executable, *"-P -m ruff check --no-cache --no-fix".split()]  # -P: not theirs
RUFF += "--extend-select=F821 --exit-zero --output-format=pylint - --stdin-filename".split()


def preview(repo: Repo, text: str, base: str = "") -> Verdict:
    """What the edits in a diff or a reply would make of the repository. Writes nothing.

    `base` is the commit that the edit was made for; a verdict without a `form` found no edit.
    """
    edits = [edit for segment in find(text) for edit in segment.edits]
    forms, notes = [edit.form for edit in edits], []
    form = next((form for form in forms if form != "file"), "".join(forms[:1]))
    try:
        fitted = fit(repo, edits, base)
        if not fitted:
            return Verdict(False, "There is no edit in this text. Send a unified diff.")
        notes += [each.note for each in fitted]
        notes += judge(repo, fitted)
    except WorkbenchError as error:
        return Verdict(False, str(error), (), tuple(notes), form=form)
    diff = "".join(canonical(each.change, each.before) for each in fitted)
    changes = tuple(each.change for each in fitted)
    return Verdict(True, "", changes, tuple(notes), diff, form)


def judge(repo: Repo, fitted: Sequence[Fitted]) -> list[Note]:
    """What the changes mean; WorkbenchError for one that would no longer parse."""
    files = [(asdict(each.change), each.before) for each in fitted]
    found, removed = call("patches.study:study", {"root": str(repo.root), "files": files})
    notes = [*(Note(*finding) for finding in found), *_left(repo, fitted, removed)]
    for each in fitted:
        path, text = each.change.path, each.change.after
        if path.endswith(".py") and text:
            known, new = _ruff(repo, path, each.before), _ruff(repo, path, text)
            fresh = [note for key, note in new.items() if key not in known]
            notes += fresh or [Note("ruff", True, f"{path}: nothing new")]
    return notes


def _left(repo: Repo, fitted: Sequence[Fitted], removed: dict[str, str]) -> Iterator[Note]:
    """Where removed names are still used; a method's only if no other can have its name."""
    after = {it.change.old_path or it.change.path: it.change.after or "" for it in fitted}
    for name, place in removed.items():
        owner, _, last = name.rpartition(".")
        common = len(repo.index.symbols(last)) > 1 or last in dir(dict) + dir(list) + dir(str)
        module = re.sub(r"(/__init__)?\.py:.*", "", place).rpartition("/")[2]
        near = {use.path for use in repo.index.references(module)}
        for use in repo.index.references(last):
            known = not common if owner else use.path in near
            if known and use.text in after.get(use.path, use.text):
                yield Note("names", False, f"{use.path}:{use.line} uses {name}, which is removed")


def _ruff(repo: Repo, path: str, text: str) -> dict[tuple[str, str], Note]:
    """What ruff says with the repository's own settings, by its words and the line."""
    command = [*RUFF, str(repo.root / path)]
    done = subprocess.run(command, input=text.encode(), capture_output=True)
    if done.returncode:
        return {("", text): Note("ruff", False, done.stderr.decode())}
    lines, notes = re.split(r"\r\n?|\n", text), {}
    for row, why in re.findall(r":(\d+): (\[.*)", done.stdout.decode()):
        check = "names" if "[F821]" in why else "ruff"
        notes[why, lines[int(row) - 1].strip()] = Note(check, False, f"{path}:{row} {why}")
    return notes
