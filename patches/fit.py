"""Places the hunks of an edit in the files as they are, in memory.

Knows nothing of checks or commits. Invariants: every hunk finds exactly one place, or the whole
edit is refused; bytes that it does not change stay; no path leaves the repository.
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

MAX_PARTS, MAX_BYTES = 1000, 4_000_000
MODES = ("100644", "100755")
ODD_NAME = re.compile(
    r"(^|/)((con|prn|aux|nul|com\d|lpt\d)(\.|/|$)| |[^/]{100})|[ .](/|$)|.{500}", re.I
)
SEND_AGAIN = "Send the hunk again, with three unchanged lines of the file around."
ONE_DIFF = "Send one diff for each file, and one hunk for each place."


@dataclass(frozen=True)
class Fitted:
    change: Change
    before: str
    note: Note


def fit(repo: Repo, edits: list[FileEdit]) -> list[Fitted]:
    """What every file becomes. WorkbenchError says why an edit is not taken."""
    if sum(1 + len(edit.hunks) for edit in edits) > MAX_PARTS:
        raise WorkbenchError("The edit is too large.", "Send less.")
    modes = repo.modes()
    together: dict[tuple[str | None, str | None], list[FileEdit]] = {}
    for edit in edits:
        together.setdefault(_paths(edit, modes), []).append(edit)
    named = [path.lower() for pair in together for path in set(pair) if path]
    for path in named:
        if named.count(path) > 1 or any(str(up) in named for up in PurePosixPath(path).parents):
            raise WorkbenchError(f"{path} is edited twice, or is a folder.", ONE_DIFF)
    return [_fit_file(repo, old, new, parts, modes) for (old, new), parts in together.items()]


def _paths(edit: FileEdit, modes: dict[str, str]) -> tuple[str | None, str | None]:
    """The paths before and after: without git's `a/` and `b/`, else as written."""
    name = edit.new or edit.old
    if edit.trouble or not name:
        why = "is cut off, names no file, or has a line that is not understood."
        raise WorkbenchError(f"{name or 'The edit'} {why}", "Send the whole edit again.")
    written = [path and str(PurePosixPath(path)) for path in (edit.old, edit.new)]
    short = [path and re.sub("^[ab]/", "", path) for path in written]
    both = (written, short) if edit.old == edit.new else (short, written)
    old, new = next((pair for pair in both if pair[0] in modes or pair[1] in modes), both[0])
    return old, new


def _fit_file(
    repo: Repo, old: str | None, new: str | None, parts: list[FileEdit], modes: dict[str, str]
) -> Fitted:
    path, old_mode = new or old, modes.get(old, MODES[0])
    for each in {old, new} - {None}:
        _allow(repo, each, modes, is_new=each != old)
    file = repo.text(old) if old in modes and old_mode in MODES else None
    mode = next((part.mode for part in parts if part.mode), old_mode)
    if (old and not file) or mode not in MODES:
        why = f"is not a plain tracked file of text (mode {mode})."
        raise WorkbenchError(f"{path} {why}", "Is it missing, binary, large, or a link?")
    file = file or SourceFile(path, "", "utf-8", "")
    hunks = [hunk for part in parts for hunk in part.hunks]
    after, note = _apply(file, hunks)
    if not new and hunks and after:
        raise WorkbenchError(f"{old} has lines that the diff does not delete.", SEND_AGAIN)
    if old == new and after == file.text and mode == old_mode:
        raise WorkbenchError(f"The edit changes nothing in {old}.", "Ask for another change.")
    action = "create" if not old else "delete" if not new else "modify" if old == new else "rename"
    moved = old if action == "rename" else None
    text, sha, encoding = after if new else None, file.sha or None, file.encoding
    change = Change(path, action, text, sha, encoding, moved, mode if new else old_mode, old_mode)
    return Fitted(change, file.text, note)


def _allow(repo: Repo, path: str, modes: dict[str, str], is_new: bool) -> None:
    if not path.isprintable() or ODD_NAME.search(path):
        raise WorkbenchError(f"{path[:60]!r} is not a name for a file.", "Choose a plain name.")
    place = repo.resolve(path)
    near = next((name for name in modes if name.lower() == path.lower()), path)
    inside = [folder for folder in place.parents if repo.root in folder.parents]
    blocked = any(folder.is_file() or (folder / ".git").exists() for folder in inside)
    if blocked or (is_new and (near in modes or place.exists())):
        why = "exists already, or lies in a file or in another repository."
        raise WorkbenchError(f"{near} {why}", "Choose another name.")
    if repo.guarded(path):
        raise WorkbenchError(f"{path} is ignored by git or may hold secrets.", "Edit it by hand.")


def _apply(file: SourceFile, hunks: list[Hunk]) -> tuple[str, Note]:
    lines = file.text.removesuffix("\n").split("\n") if file.text else []
    last_newline = file.text.endswith("\n") or not file.text
    runs, told = [], []
    for number, hunk in enumerate(hunks, 1):
        at, exact = _place(f"{file.path}, hunk {number}", lines, hunk)
        runs += _runs(hunk, at, exact, lines)
        told.append(f"line {at + 1}{'' if exact else ' but for white space at line ends'}")
        if len(hunk.open_ended) == 1:
            last_newline = "-" in hunk.open_ended
    runs.sort()
    for one, two in itertools.pairwise(runs):
        if two[0] < one[1] or two[:2] == one[:2]:
            raise WorkbenchError(f"{file.path}: two hunks change line {two[0] + 1}.", ONE_DIFF)
    for start, end, new in reversed(runs):
        lines[start:end] = new
    text = "".join(f"{line}\n" for line in lines)
    text = text if last_newline else text.removesuffix("\n")
    data = text.encode(file.encoding, "replace")
    if data.decode(file.encoding) != text or "\0" in text or len(data) > MAX_BYTES:
        why = f"would be too large, or not {file.encoding} text."
        raise WorkbenchError(f"{file.path} {why}", "Use other characters, or less of them.")
    return text, Note("placed", True, f"{file.path}: {', '.join(told) or 'no hunk'}")


def _runs(
    hunk: Hunk, at: int, exact: bool, lines: list[str]
) -> Iterator[tuple[int, int, list[str]]]:
    """The changed runs: first line, line after the last, what stands there then."""
    for kept, group in itertools.groupby(hunk.lines, lambda line: line[0] == " "):
        run = list(group)
        end = at + sum(mark != "+" for mark, _ in run)
        if not kept:
            new = [text for mark, text in run if mark == "+"]
            if not exact:  # line ends are the file's own: the neighbour's
                crlf = lines[max(at - 1, 0)].endswith("\r")
                new = [text.rstrip("\r") + "\r" * crlf for text in new]
            yield at, end, new
        at = end


def _place(name: str, lines: list[str], hunk: Hunk) -> tuple[int, bool]:
    """Where a hunk begins, 0-based, and whether it fits exactly. The text decides; the line number
    only between equal places."""
    old, new = hunk.side("-"), hunk.side("+")
    if not old and lines:
        raise WorkbenchError(f"{name} has no line of the file to find its place by.", SEND_AGAIN)
    for exact in (True, False):
        if not exact:
            lines, old, new = ([line.rstrip() for line in each] for each in (lines, old, new))
        hits = _hits(lines, old, bool(hunk.open_ended))
        if exact and hunk.start and hunk.start - 1 in hits:
            hits = [hunk.start - 1]
        if len(hits) > 1:
            where = ", ".join(str(hit + 1) for hit in hits[:8])
            raise WorkbenchError(f"{name} fits at {len(hits)} places: lines {where}.", SEND_AGAIN)
        if hits and old == new:
            return hits[0], exact
        for at in hits:
            # at the top or the end of a file, an addition fits again after it was made
            top = lines[: at + len(old)] == new and hunk.lines[0][0] == "+"
            end = lines[at:] == new and hunk.lines[-1][0] == "+"
            if not (top or end):
                return at, exact
    missing = next((line for line in old if line not in lines), old[0])[:200]
    near = "".join(difflib.get_close_matches(missing, lines, 1))
    why = f"is not in the file, or applied already: look at {missing!r}; nearest is {near!r}."
    raise WorkbenchError(f"{name} {why}", SEND_AGAIN)


def _hits(lines: list[str], wanted: list[str], at_end: bool = False) -> list[int]:
    last = len(lines) - len(wanted)
    starts = range(max(last, 0) if at_end else 0, last + 1)
    return [i for i in starts if lines[i : i + len(wanted)] == wanted]
