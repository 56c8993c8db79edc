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
    r"(old mode|new mode|new file mode|deleted file mode|rename from|rename to|copy from|copy to"
    r"|similarity index|dissimilarity index|index|Binary files|GIT binary patch)(?: |$)(.*)"
)
PROSE = re.compile(r"\n+[-+] \S|-- $")  # a list, or the signature of git format-patch
MAYBE_EDIT = re.compile(r"[-+](?! \S|-*\s*$)")


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
            if not edits[-1].complete() and not whole:
                edits[-1].trouble = "it is cut off at its end"
            elif not edits[-1].complete() and any(MAYBE_EDIT.match(lines[i]) for i in after):
                edits[-1].trouble = "lines that look like a part of it follow behind its end"
            if prose < at:
                segments.append(Segment("".join(lines[prose:at])))
            segments.append(Segment("".join(lines[at:end]), tuple(edits)))
            prose = end
        at = end
    if prose < len(lines):
        segments.append(Segment("".join(lines[prose:])))
    return segments


def _fence_end(lines: list[str], at: int, fence: re.Match[str]) -> int:
    """The line that closes the fence: not deeper than it was opened, because a context line, which
    has one more blank, may hold a fence itself."""
    close = re.compile(rf"[ \t]{{0,{len(fence[1])}}}{fence[2]}{fence[2][0]}*\s*$")
    return next((i for i in range(at, len(lines)) if close.match(lines[i])), len(lines))


def _starts(lines: list[str], at: int) -> bool:
    """Whether a diff may begin here. `---` and `+++` are a header only when a hunk or the end
    follows: an edit may remove a line `-- x`."""
    if lines[at].startswith(("diff --git ", "@@")):
        return bool(HUNK.match(lines[at])) or lines[at][0] == "d"
    names = lines[at].startswith("--- ") and lines[at + 1 : at + 2]
    after = "".join(lines[at + 2 : at + 3])
    return bool(names and names[0].startswith("+++ ") and (not after.strip() or HUNK.match(after)))


def _read(lines: list[str], at: int, fenced: bool) -> tuple[list[FileEdit], int]:
    """The edits, and the line after them. A bare diff ends where prose begins; in a fence there is
    no prose behind an edit."""
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
    if edits and fenced and at < len(lines):
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
    while at < len(lines) and (meta := META.match(lines[at].rstrip())):
        match meta[1]:
            case "new file mode":
                edit.old, edit.mode = None, meta[2]
            case "deleted file mode":
                edit.new = None
            case "new mode":
                edit.mode = meta[2]
            case "rename from":
                edit.old = f"a/{_unquoted(meta[2])}"
            case "rename to":
                edit.new = f"b/{_unquoted(meta[2])}"
            case "copy from" | "copy to" | "Binary files" | "GIT binary patch":
                edit.trouble = "copies and binary files are not taken; make a new text file instead"
        at += 1
    if at < len(lines) and lines[at].startswith("--- ") and _starts(lines, at):
        edit.old, edit.new = (_header_path(line[4:]) for line in lines[at : at + 2])
        at += 2
    return edit, at


def _read_hunk(lines: list[str], at: int, fenced: bool) -> tuple[Hunk, int]:
    """The hunk, and the line after it. Counts are evidence only: they tell where a hunk may end."""
    start, old, new, count = (
        int(n) if n else None for n in HUNK.match(lines[at]).group(1, 2, 3, 4)
    )
    promised = [1 if n is None else n for n in (old, count)] if new is not None else [-1, -1]
    hunk, end, blanks = Hunk(start, promised), at + 1, []
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
        elif line[0] not in " +-" or (_starts(lines, at) and (hunk.left != [1, 1] or blanks)):
            break
        elif hunk.left == [0, 0] and not fenced and PROSE.match("\n" * len(blanks) + line):
            break
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
    """A path as git quotes it: in C's way, in double quotes, when it has odd characters."""
    if not re.fullmatch(r'".+"', text):
        return text
    try:
        return text[1:-1].encode().decode("unicode_escape").encode("latin-1").decode()
    except UnicodeError:
        return text
