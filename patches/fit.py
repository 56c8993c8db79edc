"""Places the hunks of an edit in the files as they are, in memory.

Knows nothing of checks or commits. Invariants: every hunk of every file finds exactly one place, or
the whole edit is refused with what was looked for; the file's own bytes stay wherever the edit does
not change them; no path leaves the repository.
"""

import difflib
import itertools
import re
from dataclasses import dataclass

from patches.read import FileEdit, Hunk
from repo import Repo
from shapes import Change, Note, SourceFile, WorkbenchError

MAX_FILES = 500
MAX_BYTES = 4_000_000
MODES = ("100644", "100755")
ODD_NAME = re.compile(r"[\x00-\x1f\x7f]|(^|/)(con|prn|aux|nul|com\d|lpt\d)(\.[^/]*)?(/|$)", re.I)


class Refused(WorkbenchError):
    """Why an edit is not taken; becomes a verdict's reason."""


@dataclass(frozen=True)
class Placed:
    """A hunk with its place: `at` is the 0-based line where its old side begins."""

    hunk: Hunk
    at: int
    exact: bool


def fit(repo: Repo, edits: list[FileEdit]) -> tuple[list[Change], list[Note]]:
    """What every file becomes, and a note on how it was placed. Refused says why not."""
    if len(edits) > MAX_FILES:
        raise Refused(f"The edit has {len(edits)} files.", f"At most {MAX_FILES} can be reviewed.")
    modes = repo.modes()
    merged: dict[str, FileEdit] = {}
    for edit in edits:
        first = merged.setdefault(_path_of(edit, modes), edit)
        if first is not edit:
            if first.create or first.delete or edit.create or edit.delete or edit.rename:
                raise Refused(f"{edit.path} is edited twice.", "Send one diff for each file.")
            first.hunks = [*first.hunks, *edit.hunks]
    lower = {path.lower(): path for path in modes}
    changes, notes = [], []
    for edit in merged.values():
        change, note = _fit_file(repo, edit, modes, lower)
        changes.append(change)
        notes.append(note)
    targets = [change.path for change in changes]
    for change in changes:
        if change.old_path in targets or targets.count(change.path) > 1:
            raise Refused(f"{change.path} is edited twice.", "Send one diff for each file.")
    return changes, notes


def _path_of(edit: FileEdit, tracked: dict[str, str]) -> str:
    """Settle the edit's paths: as written, else without git's `a/` and `b/`."""
    if edit.trouble:
        raise Refused(f"{edit.path or 'The edit'}: {edit.trouble}.", "Send the whole edit again.")
    if not edit.path:
        raise Refused(
            "The edit names no file.", "Begin it with lines `--- a/path` and `+++ b/path`."
        )

    def settle(path: str | None, prefix: str) -> str | None:
        if path is None or path in tracked or not path.startswith(prefix):
            return path
        return path.removeprefix(prefix)

    edit.old_path, edit.new_path = settle(edit.old_path, "a/"), settle(edit.new_path, "b/")
    if not edit.rename and None not in (edit.old_path, edit.new_path):
        if edit.old_path != edit.new_path and edit.old_path in tracked:
            edit.rename = edit.new_path not in tracked
        edit.old_path = edit.old_path if edit.rename else edit.new_path
    return edit.path


def _fit_file(
    repo: Repo, edit: FileEdit, modes: dict[str, str], lower: dict[str, str]
) -> tuple[Change, Note]:
    for path in {edit.old_path, edit.new_path} - {None}:
        _allow(repo, path)
    if edit.mode and edit.mode not in MODES:
        raise Refused(
            f"{edit.path} would get mode {edit.mode}.", "Only plain and executable files are made."
        )
    if edit.create:
        return _create(repo, edit, lower)
    old = edit.old_path or ""
    if old not in modes:
        raise Refused(f"{old} is not a tracked file.", "Check the path; see the list of files.")
    file = repo.text(old) if modes[old] in MODES else None
    if file is None:
        raise Refused(
            f"{old} cannot be edited as text.", "It is missing, binary, very large, or a link."
        )
    mode = edit.mode or modes[old]
    before, note = file.sha, Note("placed", True, f"{old}: nothing to place")
    after = file.text
    if edit.hunks:
        after, note = _apply(file, edit.hunks)
    if edit.delete:
        if edit.hunks and after:
            raise Refused(
                f"{old} would be deleted, but it has lines that the diff does not show.",
                "Send the diff against the file as it is now.",
            )
        return Change(old, "delete", None, before, file.encoding, mode=modes[old]), note
    modes_of = {"mode": mode, "old_mode": modes[old]}
    if edit.rename:
        new = edit.new_path or ""
        _free(repo, new, lower)
        return Change(new, "rename", after, before, file.encoding, old, **modes_of), note
    if after == file.text and mode == modes[old]:
        raise Refused(f"The edit changes nothing in {old}.", "Send the lines that should change.")
    return Change(old, "modify", after, before, file.encoding, **modes_of), note


def _create(repo: Repo, edit: FileEdit, lower: dict[str, str]) -> tuple[Change, Note]:
    path = edit.new_path or ""
    _free(repo, path, lower)
    if len(edit.hunks) > 1 or any(mark != "+" for h in edit.hunks for mark, _ in h.lines):
        raise Refused(
            f"{path} is to be created, but the diff has lines of an older file.",
            "Mark every line of a new file with +.",
        )
    lines = edit.hunks[0].side("+") if edit.hunks else []
    end = "" if not lines or "+" in edit.hunks[0].open_ended else "\n"
    after = "\n".join(lines) + end
    _encodable(path, after, "utf-8")
    note = Note("placed", True, f"{path}: a new file")
    return Change(path, "create", after, mode=edit.mode or "100644"), note


def _allow(repo: Repo, path: str) -> None:
    """Refuse a path that no edit may touch."""
    try:
        repo.resolve(path)
    except WorkbenchError as error:
        raise Refused(error.message, error.hint) from error
    if len(path.encode("utf-8", "surrogateescape")) > 1000 or any(
        len(part.encode("utf-8", "surrogateescape")) > 200 for part in path.split("/")
    ):
        raise Refused(f"The name {path[:60]!r}… is too long.", "Choose a shorter one.")
    if ODD_NAME.search(path) or path.endswith((" ", ".", "/")) or path != path.strip():
        raise Refused(f"{path!r} is not a name for a file.", "Choose a plain name.")
    if repo.guarded(path):
        raise Refused(
            f"{path} is ignored by git or may hold secrets.", "Edit it by hand if it must change."
        )


def _free(repo: Repo, path: str, lower: dict[str, str]) -> None:
    """Refuse to create onto something that exists, or differs by capitals only."""
    near = lower.get(path.lower())
    place = repo.resolve(path)
    if near or place.exists() or place.is_symlink():
        raise Refused(f"{near or path} exists already.", "Edit it, or choose another name.")
    for parent in place.parents:
        if parent == repo.root:
            return
        if parent.exists() and not parent.is_dir():
            raise Refused(f"{path} would lie inside a file.", "Choose another name.")


def _apply(file: SourceFile, hunks: list[Hunk]) -> tuple[str, Note]:
    bare = file.text.removesuffix("\n").split("\n") if file.text else []
    unique = [h for i, h in enumerate(hunks) if all(h != other for other in hunks[:i])]
    placed = [_place(file.path, bare, hunk, n) for n, hunk in enumerate(unique, 1)]
    edits = sorted((e for p in placed for e in _edits(p)), key=lambda e: e[:2])
    for (_, end, _, _), (start, *_) in itertools.pairwise(edits):
        if start < end:
            raise Refused(
                f"{file.path}: two hunks change line {start + 1}.", "Send one hunk for each place."
            )
    if any(a[:2] == b[:2] for a, b in itertools.pairwise(edits)):
        raise Refused(f"{file.path}: two hunks add at one place.", "Send them as one hunk.")
    out, at = [], 0
    for start, end, new, exact in edits:
        out += bare[at:start]
        out += new if exact else [_with_file_ending(text, bare, start) for text in new]
        at = end
    out += bare[at:]
    text = "\n".join(out)
    if out and _ends_with_newline(file.text, placed, len(bare), edits):
        text += "\n"
    _encodable(file.path, text, file.encoding)
    return text, _note(file.path, placed)


def _edits(placed: Placed) -> list[tuple[int, int, list[str], bool]]:
    """The runs of changed lines: (first line, line after the last, new lines, exact)."""
    runs: list[tuple[int, int, list[str], bool]] = []
    at, start, new = placed.at, None, []
    for mark, text in [*placed.hunk.lines, (" ", "")]:
        if mark == " ":
            if start is not None:
                runs.append((start, at, new, placed.exact))
            start, new = None, []
            at += 1
            continue
        start = at if start is None else start
        if mark == "-":
            at += 1
        else:
            new = [*new, text]
    return runs


def _place(path: str, bare: list[str], hunk: Hunk, number: int) -> Placed:
    """The one place of a hunk. The text decides; the line number only between equal places."""
    old = hunk.side("-")
    if not old:
        if not bare:
            return Placed(hunk, 0, True)
        raise Refused(
            f"{path}, hunk {number} has no line of the file, so its place is unknown.",
            "Send it with three unchanged lines before and after.",
        )
    for exact in (True, False):
        wanted = old if exact else [line.rstrip() for line in old]
        have = bare if exact else [line.rstrip() for line in bare]
        hits = _hits(have, wanted, "-" in hunk.open_ended and exact)
        given = (hunk.start or 0) - 1
        if len(hits) == 1 or (exact and given in hits):
            return Placed(hunk, hits[0] if len(hits) == 1 else given, exact)
        if hits:
            where = ", ".join(str(hit + 1) for hit in hits[:8])
            raise Refused(
                f"{path}, hunk {number} fits at {len(hits)} places: lines {where}.",
                "Send more unchanged lines around it, so that one place is left.",
            )
    raise Refused(*_not_found(path, bare, hunk, number))


def _hits(have: list[str], wanted: list[str], at_end: bool) -> list[int]:
    size = len(wanted)
    first = len(have) - size if at_end else 0
    starts = range(max(first, 0), len(have) - size + 1)
    return [i for i in starts if have[i] == wanted[0] and have[i : i + size] == wanted]


def _not_found(path: str, bare: list[str], hunk: Hunk, number: int) -> tuple[str, str]:
    """What was looked for and what is there instead."""
    new = hunk.side("+")
    if new and any(mark == "+" for mark, _ in hunk.lines) and _hits(bare, new, False):
        at = _hits(bare, new, False)[0] + 1
        return (
            f"{path}, hunk {number} is already applied at line {at}.",
            "There is nothing left to do; ask for another change.",
        )
    old, known = hunk.side("-"), {line.rstrip() for line in bare}
    missing = next((line for line in old if line.rstrip() not in known), None)
    if missing is None:
        return (
            f"{path}, hunk {number}: its lines are in the file, but not in this order.",
            "Copy the unchanged lines exactly as they follow one another.",
        )
    near = difflib.get_close_matches(missing, bare, 1, 0.5)
    there = f" The nearest is line {bare.index(near[0]) + 1}: {near[0]!r}." if near else ""
    return (
        f"{path}, hunk {number} looks for a line that is not in the file: {missing!r}.{there}",
        "Send the hunk again with the file's own lines.",
    )


def _with_file_ending(text: str, bare: list[str], at: int) -> str:
    """An added line with the carriage return that its neighbours have, or without."""
    around = bare[max(at - 1, 0) : at + 1] or [""]
    return text.rstrip("\r") + ("\r" if around[0].endswith("\r") else "")


def _ends_with_newline(
    before: str, placed: list[Placed], count: int, edits: list[tuple[int, int, list[str], bool]]
) -> bool:
    """The last newline is the file's own, unless a hunk that ends there says otherwise."""
    had = before.endswith("\n")
    for each in placed:
        if each.at + len(each.hunk.side("-")) == count and each.hunk.open_ended:
            return "+" not in each.hunk.open_ended
    return had or not count


def _note(path: str, placed: list[Placed]) -> Note:
    told = []
    for number, each in enumerate(placed, 1):
        if each.hunk.start and each.at != each.hunk.start - 1:
            moved = each.at + 1 - each.hunk.start
            told.append(f"hunk {number} {abs(moved)} lines {'lower' if moved > 0 else 'higher'}")
        if not each.exact:
            told.append(f"hunk {number} without white space at line ends")
    return Note("placed", True, f"{path}: {', '.join(told) or 'exactly'}")


def _encodable(path: str, text: str, encoding: str) -> None:
    try:
        size = len(text.encode(encoding))
    except UnicodeEncodeError as error:
        raise Refused(
            f"{path} is {encoding} and cannot hold {text[error.start]!r}.", "Use other characters."
        ) from error
    if size > MAX_BYTES:
        raise Refused(f"{path} would have {size:,} bytes.", f"At most {MAX_BYTES:,} are taken.")
    if "\0" in text:
        raise Refused(f"{path} would hold a NUL byte.", "Only text can be edited.")
