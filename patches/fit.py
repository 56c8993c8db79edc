"""Places the hunks of an edit in the files as they are, in memory.

Knows nothing of checks or commits. Invariants: every hunk of every file finds exactly one place, or
the whole edit is refused with what was looked for; the file's own bytes stay wherever the edit does
not change them; no path leaves the repository.
"""

import difflib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from patches.read import FileEdit, Hunk
from repo import Repo
from shapes import Change, Note, SourceFile, WorkbenchError

MAX_FILES, MAX_HUNKS = 500, 2000
MAX_BYTES = 4_000_000
MODES = ("100644", "100755")
ODD_NAME = re.compile(
    r"(^|/)((con|prn|aux|nul|com\d|lpt\d)(\.|/|$)| |[^/]{100})|[ .](/|$)|.{500}", re.I
)
SEND_AGAIN = "Send the hunk again with the file's own lines, and three unchanged ones around."
ONE_DIFF = "Send one diff for each file, and one hunk for each place."


@dataclass(frozen=True)
class Fitted:
    """What one file becomes, what its text is until now, and how the hunks were placed."""

    change: Change
    before: str
    note: Note


@dataclass(frozen=True)
class Placed:
    """A hunk with its place: `at` is the 0-based line where its old side begins."""

    hunk: Hunk
    at: int
    exact: bool


def fit(repo: Repo, edits: list[FileEdit]) -> list[Fitted]:
    """What every file becomes. WorkbenchError says why an edit is not taken."""
    if len(edits) > MAX_FILES or sum(len(edit.hunks) for edit in edits) > MAX_HUNKS:
        raise WorkbenchError(
            "The edit is too large to be reviewed.", f"At most {MAX_FILES} files, please."
        )
    modes = repo.modes()
    together: dict[tuple[str | None, str | None], list[FileEdit]] = {}
    for edit in edits:
        together.setdefault(_paths(edit, modes), []).append(edit)
    named = [path.lower() for pair in together for path in set(pair) if path]
    for path in named:
        if named.count(path) > 1 or any(str(up) in named for up in PurePosixPath(path).parents):
            raise WorkbenchError(f"{path} is edited twice, or is a folder too.", ONE_DIFF)
    return [_fit_file(repo, old, new, parts, modes) for (old, new), parts in together.items()]


def _paths(edit: FileEdit, modes: dict[str, str]) -> tuple[str | None, str | None]:
    """The file's paths before and after: without git's `a/` and `b/`, else as they are written."""
    if edit.trouble:
        name = edit.new or edit.old or "The edit"
        raise WorkbenchError(f"{name}: {edit.trouble}.", "Send the whole edit again.")
    if not edit.old and not edit.new:
        raise WorkbenchError(
            "The edit names no file.", "Begin it with lines `--- a/path` and `+++ b/path`."
        )
    written = [path and str(PurePosixPath(path)) for path in (edit.old, edit.new)]
    short = [path and re.sub("^[ab]/", "", path) for path in written]
    both = (written, short) if edit.old == edit.new else (short, written)
    old, new = next((pair for pair in both if pair[0] in modes or pair[1] in modes), both[0])
    if old and new and old not in modes:
        old = new  # as `diff file.orig file` names them
    return old, new


def _fit_file(
    repo: Repo, old: str | None, new: str | None, parts: list[FileEdit], modes: dict[str, str]
) -> Fitted:
    source, path = old or new, new or old
    for each in {source, path}:
        _allow(repo, each)
    if old != new and new:
        _free(repo, new, modes)
    file = SourceFile(path, "", "utf-8", "") if old is None else None
    if old and old not in modes:
        raise WorkbenchError(f"{old} is not a tracked file.", "Check the path and its spelling.")
    if old and modes[old] in MODES:
        file = repo.text(old)
    if file is None:
        raise WorkbenchError(
            f"{old} cannot be edited as text.", "It is missing, binary, very large, or a link."
        )
    old_mode = modes.get(source, MODES[0])
    mode = next((part.mode for part in parts if part.mode), old_mode)
    if mode not in MODES:
        raise WorkbenchError(f"{path} would get mode {mode}.", "Make a plain file.")
    after, note = _apply(file, [hunk for part in parts for hunk in part.hunks])
    if old is None:
        change = Change(path, "create", after, mode=mode)
    elif new is None:
        if after and any(part.hunks for part in parts):
            raise WorkbenchError(
                f"{old} would go, but it has lines that the diff does not show.", SEND_AGAIN
            )
        change = Change(old, "delete", None, file.sha, file.encoding, mode=old_mode)
    elif after == file.text and mode == old_mode and old == new:
        raise WorkbenchError(f"The edit changes nothing in {old}.", "Ask for another change.")
    else:
        action, was = ("modify", None) if old == new else ("rename", old)
        change = Change(path, action, after, file.sha, file.encoding, was, mode, old_mode)
    return Fitted(change, file.text, note)


def _allow(repo: Repo, path: str) -> None:
    """Refuse a path that no edit may touch."""
    if path.isprintable():
        repo.resolve(path)
    if not path.isprintable() or ODD_NAME.search(path):
        raise WorkbenchError(f"{path[:60]!r} is not a name for a file.", "Choose a plain name.")
    if repo.guarded(path):
        raise WorkbenchError(
            f"{path} is ignored by git or may hold secrets.", "Edit it by hand if it must change."
        )


def _free(repo: Repo, path: str, modes: dict[str, str]) -> None:
    """Refuse to create onto something that exists, or differs by capitals only."""
    place = repo.resolve(path)
    near = next((name for name in modes if name.lower() == path.lower()), path)
    if near in modes or place.exists() or place.is_symlink():
        raise WorkbenchError(f"{near} exists already.", "Edit it, or choose another name.")
    inside = [folder for folder in place.parents if repo.root in folder.parents]
    if any(folder.is_file() or (folder / ".git").exists() for folder in inside):
        raise WorkbenchError(
            f"{path} would lie in a file or in another repository.", "Choose another name."
        )


def _apply(file: SourceFile, hunks: list[Hunk]) -> tuple[str, Note]:
    """The file's new text, and how the hunks were placed."""
    lines = file.text.removesuffix("\n").split("\n") if file.text else []
    unique = [hunk for i, hunk in enumerate(hunks) if hunk not in hunks[:i]]
    placed = [_place(f"{file.path}, hunk {n}", lines, hunk) for n, hunk in enumerate(unique, 1)]
    runs = sorted(run for each in placed for run in _runs(each, lines))
    for one, two in itertools.pairwise(runs):
        if two[0] < one[1] or two[:2] == one[:2]:
            raise WorkbenchError(f"{file.path}: two hunks change line {two[0] + 1}.", ONE_DIFF)
    for start, end, new in reversed(runs):
        lines[start:end] = new
    last_newline = file.text.endswith("\n") or not file.text
    for hunk in unique:
        if len(hunk.open_ended) == 1:
            last_newline = "-" in hunk.open_ended
    text = "".join(f"{line}\n" for line in lines)
    text = text if last_newline else text.removesuffix("\n")
    try:
        size = len(text.encode(file.encoding))
    except UnicodeEncodeError as error:
        raise WorkbenchError(
            f"{file.path} is {file.encoding} and cannot hold {text[error.start]!r}.",
            "Use other characters.",
        ) from error
    if size > MAX_BYTES or "\0" in text:
        raise WorkbenchError(
            f"{file.path} would hold a NUL byte, or more than {MAX_BYTES:,} bytes.",
            "Only text of a sensible size can be edited.",
        )
    return text, Note("placed", True, f"{file.path}: {_how(placed)}")


def _runs(placed: Placed, lines: list[str]) -> Iterator[tuple[int, int, list[str]]]:
    """The changed lines of a hunk: first line, line after the last, what stands there then."""
    at = placed.at
    for kept, group in itertools.groupby(placed.hunk.lines, lambda line: line[0] == " "):
        run = list(group)
        size = sum(mark != "+" for mark, _ in run)
        if not kept:
            new = [text for mark, text in run if mark == "+"]
            if not placed.exact:  # line ends are the file's own: the neighbour's
                end = "\r" if "".join(lines[max(at - 1, 0) :][:1]).endswith("\r") else ""
                new = [text.rstrip("\r") + end for text in new]
            yield at, at + size, new
        at += size


def _place(name: str, lines: list[str], hunk: Hunk) -> Placed:
    """The one place of a hunk. The text decides; the line number only between equal places."""
    old = hunk.side("-")
    if not old and lines:
        raise WorkbenchError(f"{name} has no line of the file to find its place by.", SEND_AGAIN)
    for exact in (True, False):
        hits = _hits(lines, old, exact, at_end=bool(hunk.open_ended)) if old else [0]
        if exact and hunk.start and hunk.start - 1 in hits:
            hits = [hunk.start - 1]
        if len(hits) > 1:
            where = ", ".join(str(hit + 1) for hit in hits[:8])
            raise WorkbenchError(f"{name} fits at {len(hits)} places: lines {where}.", SEND_AGAIN)
        if hits:
            return Placed(hunk, hits[0], exact)
    raise WorkbenchError(*_not_found(name, lines, hunk))


def _hits(lines: list[str], wanted: list[str], exact: bool, at_end: bool = False) -> list[int]:
    have = lines if exact else [line.rstrip() for line in lines]
    wanted = wanted if exact else [line.rstrip() for line in wanted]
    size, last = len(wanted), len(have) - len(wanted)
    starts = range(max(last, 0) if at_end else 0, last + 1)
    return [i for i in starts if have[i] == wanted[0] and have[i : i + size] == wanted]


def _not_found(name: str, lines: list[str], hunk: Hunk) -> tuple[str, str]:
    """What was looked for and what is there instead."""
    new = hunk.side("+")
    if any(mark == "+" for mark, _ in hunk.lines) and (hits := _hits(lines, new, True)):
        return f"{name} is already applied at line {hits[0] + 1}.", "Ask for another change."
    known = [line.rstrip() for line in lines]
    missing = next((line for line in hunk.side("-") if line.rstrip() not in known), None)
    if missing is None:
        return f"{name}: its lines are in the file, but not one after the other.", SEND_AGAIN
    short = [line[:200] for line in lines]
    near = difflib.get_close_matches(missing[:200], short, 1, 0.5)
    there = f" The nearest is line {short.index(near[0]) + 1}: {near[0]!r}." if near else ""
    return f"{name} looks for a line that is not in the file: {missing[:200]!r}.{there}", SEND_AGAIN


def _how(placed: list[Placed]) -> str:
    told = []
    for number, each in enumerate(placed, 1):
        if each.hunk.start and each.at != each.hunk.start - 1:
            told.append(f"hunk {number} at line {each.at + 1}, not {each.hunk.start}")
        if not each.exact:
            told.append(f"hunk {number} but for white space at line ends")
    return "; ".join(told) or "exactly"
