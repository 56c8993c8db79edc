"""Unified diffs as models write them: where they stand in a reply, and what they say.

Knows nothing of any repository. Invariants: every line of a reply belongs to exactly one segment;
a line that may be part of an edit and cannot be read is told in `FileEdit.trouble`, never dropped.
"""

import itertools
import re
from dataclasses import dataclass, field

from patches.unified import lines_of

FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[^`\n]*$")
HUNK = re.compile(r"@@(?: *-(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))?)?(?=[ @\r\n]|$)")
GIT = re.compile(r'diff --git ("?)(?:a/)?(.{1,999})\1 \1(?:b/)?\2\1$')  # both names the same
META = re.compile(
    r"((?:old|new|new file|deleted file) mode|(?:rename|copy) (?:from|to)"
    r"|(?:dis)?similarity index|index|Binary files|GIT binary patch)(?: |$)(.*)"
)
MAYBE_EDIT = re.compile(r"[-+](?! \S|-*\s*$)")  # else a list, a rule or a signature
CUT_OFF = "it is cut off, or goes on behind its end"


@dataclass
class Hunk:
    """Lines of the file with their mark: " ", "-" or "+"."""

    start: int | None  # the old side's first line, 1-based, as the header says
    left: list[int]  # old and new lines that the header promises and that have not come
    lines: list[tuple[str, str]] = field(default_factory=list)
    open_ended: set[str] = field(default_factory=set)  # sides without a last newline

    def add(self, mark: str, text: str) -> None:
        self.lines.append((mark, text))
        self.left[0] -= mark != "+"
        self.left[1] -= mark != "-"

    def side(self, mark: str) -> list[str]:
        """The lines of the old ("-") or the new ("+") side."""
        return [text for each, text in self.lines if each in (" ", mark)]


@dataclass
class FileEdit:
    """What a diff says of one file. `old` is None for a new file, `new` for one that goes."""

    old: str | None = None
    new: str | None = None
    hunks: list[Hunk] = field(default_factory=list)
    mode: str = ""
    trouble: str = ""

    def complete(self) -> bool:
        """Whether it ends just where its last header promises."""
        return self.hunks[-1].left == [0, 0] if self.hunks else self.old is not None


@dataclass(frozen=True)
class Segment:
    text: str
    edits: tuple[FileEdit, ...] = ()

    @property
    def is_edit(self) -> bool:
        return bool(self.edits)


def find(reply: str) -> list[Segment]:
    """The reply taken apart into prose and edits; the texts joined are the reply again."""
    lines = lines_of(reply)
    segments: list[Segment] = []
    prose = at = 0
    while at < len(lines):
        edits: list[FileEdit] = []
        end, whole = at + 1, lines[-1].endswith("\n")
        if fence := FENCE.match(lines[at].rstrip()):
            close = _fence_end(lines, end, fence)
            inside = [line.removeprefix(fence[1]) for line in lines[end:close]]
            edits, _ = _read(inside, 0, fenced=True)
            whole, end = close < len(lines), min(close + 1, len(lines))
        elif _starts(lines, at):
            edits, end = _read(lines, at, fenced=False)
            whole = whole or end < len(lines)
        if edits:
            after = itertools.takewhile(lambda i: not _starts(lines, i), range(end, len(lines)))
            lost = not whole or any(MAYBE_EDIT.match(lines[i]) for i in after)
            if lost and not edits[-1].complete():
                edits[-1].trouble = CUT_OFF
            if prose < at:
                segments.append(Segment("".join(lines[prose:at])))
            segments.append(Segment("".join(lines[at:end]), tuple(edits)))
            prose = end
        at = end
    if prose < len(lines):
        segments.append(Segment("".join(lines[prose:])))
    return segments


def _fence_end(lines: list[str], at: int, fence: re.Match[str]) -> int:
    """The line that closes the fence: not deeper than it was opened, as a context line may be."""
    close = re.compile(rf"[ \t]{{0,{len(fence[1])}}}{fence[2]}{fence[2][0]}*\s*$")
    return next((i for i in range(at, len(lines)) if close.match(lines[i])), len(lines))


def _starts(lines: list[str], at: int) -> bool:
    """Whether a diff may begin here; an edit may remove a line `-- x`, so a hunk must follow."""
    old, new, after = [*lines[at : at + 3], "", "", ""][:3]
    if old.startswith("--- ") and new.startswith("+++ "):
        return not after.strip() or bool(HUNK.match(after))
    return old.startswith("diff --git ") or bool(HUNK.match(old))


def _read(lines: list[str], at: int, fenced: bool) -> tuple[list[FileEdit], int]:
    """The edits, and the line after them. A fence holds no prose behind an edit."""
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
        edits[-1].trouble = f"the line {lines[at].rstrip()!r} has none of the marks ' ', + and -"
    return edits, end


def _read_header(lines: list[str], at: int) -> tuple[FileEdit, int]:
    """Git's lines about a file, or only `---` and `+++`, and the line after them."""
    edit = FileEdit()
    if lines[at].startswith("diff "):
        if same := GIT.match(lines[at].rstrip()):
            name = _unquoted(f"{same[1]}{same[2]}{same[1]}")
            edit.old, edit.new = f"a/{name}", f"b/{name}"
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
    elif source or target:
        edit.trouble = "a rename needs both names, from and to"
    if any(word.startswith(("copy", "Binary", "GIT")) for word in said):
        edit.trouble = "copies and binary files are not taken"
    edit.mode = said.get("new file mode") or said.get("new mode", "")
    if _starts(lines, at) and lines[at].startswith("--- "):
        edit.old, edit.new = (_header_path(line[4:]) for line in lines[at : at + 2])
        at += 2
        while at < len(lines) and not lines[at].strip():
            at += 1
        if at == len(lines) or not HUNK.match(lines[at]):
            edit.trouble = CUT_OFF
    return edit, at


def _read_hunk(lines: list[str], at: int, fenced: bool) -> tuple[Hunk, int]:
    """The hunk, and the line after it. Counts only tell where a bare hunk may end."""
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


def _header_path(text: str) -> str | None:
    """The path of a `---` or `+++` line; None for /dev/null."""
    path = _unquoted(text.partition("\t")[0].rstrip())
    return None if path == "/dev/null" else path


def _unquoted(text: str) -> str:
    """A path without git's quotes and escapes, which are C's."""
    if not re.fullmatch(r'".+"', text):
        return text
    try:
        return text[1:-1].encode().decode("unicode_escape").encode("latin-1").decode()
    except UnicodeError:
        return text
