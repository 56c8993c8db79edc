"""Unified diffs as models write them: where they stand in a reply, and what they say.

Knows nothing of repositories. Invariants: every line of a reply is in exactly one segment; one that
may be part of an edit and cannot be read is told in `FileEdit.trouble`, never dropped.
"""

import itertools
import re
from dataclasses import dataclass, field

from patches.unified import lines_of

FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[^`\n]*$")
HUNK = re.compile(r"@@(?: *-(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))?)?(?=[ @\r\n]|$)")
GIT = re.compile(r"diff --git (?:a/)?(.{1,999}) (?:b/)?\1$")  # both names the same
META = re.compile(
    r"((?:old|new|new file|deleted file) mode|rename (?:from|to)|(?:dis)?similarity index|index)"
    r"(?: |$)(.*)"
)
MAYBE_EDIT = re.compile(r"[-+](?! \S|-*\s*$)")  # else a list, a rule or a signature


@dataclass
class Hunk:
    """Lines of the file with their mark: " ", "-" or "+"."""

    start: int | None  # 1-based, as the header says
    left: list[int]  # old and new lines still promised
    lines: list[tuple[str, str]] = field(default_factory=list)
    open_ended: set[str] = field(default_factory=set)  # sides without a last newline

    def add(self, mark: str, text: str) -> None:
        self.lines.append((mark, text))
        self.left[0] -= mark != "+"
        self.left[1] -= mark != "-"

    def side(self, mark: str) -> list[str]:
        return [text for each, text in self.lines if each in (" ", mark)]


@dataclass
class FileEdit:
    """What a diff says of one file. `old` is None for a new file, `new` for one that goes."""

    old: str | None = None
    new: str | None = None
    hunks: list[Hunk] = field(default_factory=list)
    mode: str = ""
    trouble: bool = False  # it is cut off, or a line of it is not understood


@dataclass(frozen=True)
class Segment:
    text: str
    edits: tuple[FileEdit, ...] = ()

    @property
    def is_edit(self) -> bool:
        return bool(self.edits)


def find(reply: str) -> list[Segment]:
    """The reply taken apart: edits, and prose in pieces; the texts joined are the reply again."""
    lines = lines_of(reply)
    segments: list[Segment] = []
    at = 0
    while at < len(lines):
        edits: list[FileEdit] = []
        end, whole = at + 1, lines[-1].endswith("\n")
        if fence := FENCE.match(lines[at].rstrip()):
            # not deeper than it was opened, as a context line may be
            mark = re.compile(rf"[ \t]{{0,{len(fence[1])}}}{fence[2]}{fence[2][0]}*\s*$")
            close = next((i for i in range(end, len(lines)) if mark.match(lines[i])), len(lines))
            inside = [line.removeprefix(fence[1]) for line in lines[end:close]]
            edits, _ = _read(inside, 0, fenced=True)
            whole, end = close < len(lines), min(close + 1, len(lines))
        elif _starts(lines, at):
            edits, end = _read(lines, at, fenced=False)
            whole = whole or end < len(lines)
        if edits:
            after = itertools.takewhile(lambda i: not _starts(lines, i), range(end, len(lines)))
            lost = not whole or any(MAYBE_EDIT.match(lines[i]) for i in after)
            last = edits[-1]
            if lost and not (last.hunks[-1].left == [0, 0] if last.hunks else last.old):
                last.trouble = True
        segments.append(Segment("".join(lines[at:end]), tuple(edits)))
        at = end
    return segments


def _starts(lines: list[str], at: int) -> bool:
    """Whether a diff may begin here; an edit may remove a line `-- x`, so a hunk must follow."""
    old, new, after = [*lines[at : at + 3], "", "", ""][:3]
    if old.startswith("--- ") and new.startswith("+++ "):
        return not after.strip() or bool(HUNK.match(after))
    return old.startswith("diff --git ") or bool(HUNK.match(old))


def _read(lines: list[str], at: int, fenced: bool) -> tuple[list[FileEdit], int]:
    """The edits, and the line after them. A fence holds no prose."""
    edits: list[FileEdit] = []
    end = at
    while at < len(lines):
        if not _starts(lines, at):
            if edits and lines[at].strip():
                break
            at += 1
            continue
        if HUNK.match(lines[at]):
            edits = edits or [FileEdit()]
            hunk, at = _read_hunk(lines, at, fenced)
            edits[-1].hunks.append(hunk)
        else:
            edit, at = _read_header(lines, at)
            edits.append(edit)
        end = at
    if fenced and at < len(lines):
        edits[-1].trouble = True
    return edits, end


def _read_header(lines: list[str], at: int) -> tuple[FileEdit, int]:
    """Git's lines about a file, or only `---` and `+++`."""
    edit = FileEdit()
    if lines[at].startswith("diff "):
        if same := GIT.match(lines[at].rstrip()):
            edit.old, edit.new = f"a/{same[1]}", f"b/{same[1]}"
        at += 1
    said = {}
    while at < len(lines) and (meta := META.match(lines[at].rstrip())):
        said[meta[1]] = meta[2]
        at += 1
    if "new file mode" in said:
        edit.old = None
    if "deleted file mode" in said:
        edit.new = None
    source, target = said.get("rename from"), said.get("rename to")
    if source and target:
        edit.old, edit.new = f"a/{_unquoted(source)}", f"b/{_unquoted(target)}"
    unread = at < len(lines) and lines[at].strip() and not _starts(lines, at)
    if unread or bool(source) != bool(target):
        edit.trouble = True
    edit.mode = said.get("new file mode") or said.get("new mode", "")
    if _starts(lines, at) and lines[at].startswith("--- "):
        names = [_unquoted(line[4:].partition("\t")[0].rstrip()) for line in lines[at : at + 2]]
        edit.old, edit.new = (None if name == "/dev/null" else name for name in names)
        at += 2
        after = next((lines[i] for i in range(at, len(lines)) if lines[i].strip()), "")
        if not HUNK.match(after):
            edit.trouble = True
    return edit, at


def _read_hunk(lines: list[str], at: int, fenced: bool) -> tuple[Hunk, int]:
    start, old, numbered, new = HUNK.match(lines[at]).groups()
    promised = [int(old or 1), int(new or 1)] if numbered else [-1, -1]
    hunk, end, blanks = Hunk(int(start) if start else None, promised), at + 1, []
    crlf = lines[at].endswith("\r\n")  # the reply's own line ends, as a browser sends them
    for at in range(end, len(lines)):
        line = lines[at].removesuffix("\n")
        line = line.removesuffix("\r") if crlf else line
        if line.startswith("\\") and hunk.lines:
            mark = hunk.lines[-1][0]
            hunk.open_ended |= {"-", "+"} if mark == " " else {mark}
        elif not line.strip("\r"):  # a blank context line that lost its mark, or none of it
            blanks.append(line)
            continue
        elif line[0] not in " +-" or (_starts(lines, at) and (blanks or hunk.left != [1, 1])):
            break
        elif hunk.left == [0, 0] and not fenced and (blanks or line == "-- "):
            break  # prose, or the signature of git format-patch
        else:
            for blank in blanks:
                hunk.add(" ", blank)
            blanks = []
            hunk.add(line[0], line[1:])
        end = at + 1
    return hunk, end


def _unquoted(text: str) -> str:
    """A path without git's quotes and escapes, which are C's."""
    if not re.fullmatch(r'".+"', text):
        return text
    try:
        return text[1:-1].encode().decode("unicode_escape").encode("latin-1").decode()
    except UnicodeError:
        return text
