"""Edits as models write them: where they stand in a reply, and what they say.

Unified diffs, `*** Begin Patch` patches and search/replace blocks all become hunks of marked lines;
a block under a path is a whole file or some definitions of it. Knows no files. Invariants: every
line of a reply is in one segment; what may be part of an edit and cannot be read is told in
`FileEdit.trouble`, never dropped.
"""

import difflib
import itertools
import re
from dataclasses import dataclass, field

from patches.unified import lines_of
from shapes import frozen

FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})([^`\n]*)$")
HUNK = re.compile(
    r"@@(?: *-(\d{1,9})(?:,(\d{1,9}))?(?: +\+(\d{1,9})(?:,(\d{1,9}))?)?)?(?: *@@)?(?=[ \r]|$)"
)
HEADER = re.compile(  # git's, Subversion's, and those of OpenAI's apply_patch
    r"(diff --git|(?:old|new|new file|deleted file) mode|rename (?:from|to)|index|Index:|=====+$"
    r"|(?:dis)?similarity index|\*\*\* (?:(?:Begin|End) Patch|End of File|Move to:"
    r"|(?:Update|Add|Delete) File:))(?: (.*))?$"
)
STARTS = ("diff --git ", "*** ", "Index: ")
GIT = re.compile(r"(?:a/)?(.{1,999}) (?:b/)?\1$")  # both names the same
SEARCH = re.compile(r"(?:<{5,9}|-{5,9}) ?(?:SEARCH|ORIGINAL|OLD)\b", re.I)
DIVIDER = re.compile(r"={5,9}\s*$")
REPLACE = re.compile(r"(?:>{5,9}|\+{5,9}) ?(?:REPLACE|UPDATED|NEW)\b", re.I)
COMMENT = re.compile(r"\s*(#|//|/\*|\*|<!--|--\s|;)")
ITEM = re.compile(r"[-+] \S|-- $")  # of a list; or git's signature
MAYBE_EDIT = re.compile(r"[-+](?! \S|-*\s*$)")  # else a list, a rule or a signature
NO_HUNK, HALF = "has a header and no hunk", "is renamed from or to nothing"


@dataclass
class Hunk:
    """Lines of the file with their mark: " ", "-", "+", or "?" for one that has none."""

    start: int | None = None  # 1-based, as the header says
    promised: tuple[int, int] | None = None  # old and new lines, as the header says
    lines: list[tuple[str, str]] = field(default_factory=list)
    open_ended: set[str] = field(default_factory=set)  # sides without a last newline

    def add(self, line: str) -> None:
        if line.startswith("\\") and self.lines:
            mark = self.lines[-1][0]
            self.open_ended |= {mark} if mark in "+-" else {"+", "-"}
        else:
            marked = line[:1] in (" ", "+", "-")
            self.lines.append((line[0], line[1:]) if line and marked else ("?", line))

    def side(self, mark: str) -> list[str]:
        return [text for each, text in self.lines if each in (" ", "?", mark)]

    def short(self) -> tuple[int, int]:
        """How many old and new lines are promised beyond those that are there."""
        old, new = self.promised or (0, 0)
        return old - len(self.side("-")), new - len(self.side("+"))


@dataclass
class FileEdit:
    """What a reply says of one file. `old` is None for a new file, `new` for one that goes."""

    old: str | None = None
    new: str | None = None
    form: str = "diff"
    hunks: list[Hunk] = field(default_factory=list)
    whole: str | None = None  # the text of the file, or of some of its definitions
    said: tuple[str, ...] = ()  # what may name the file, where no header does; the best first
    mode: str = ""
    trouble: str = ""

    def names(self) -> tuple[str, ...]:
        return tuple(filter(None, [self.new or self.old, *self.said]))


@frozen
class Segment:
    text: str
    edits: tuple[FileEdit, ...] = ()

    @property
    def form(self) -> str:
        return self.edits[0].form if self.edits else ""


def find(reply: str) -> list[Segment]:
    """The reply taken apart: edits, and prose in pieces; the texts joined are the reply again."""
    lines = lines_of(reply)
    # a browser's form sends CRLF: then line ends tell nothing of the file's
    crlf = "\r" * all(line.endswith("\r\n") for line in lines if line.endswith("\n"))
    bare = [line.removesuffix("\n").removesuffix(crlf) for line in lines]
    segments: list[Segment] = []
    at, said, names = 0, "", ()
    while at < len(bare):
        edits: list[FileEdit] = []
        end, is_closed = at + 1, lines[-1].endswith("\n")
        if fence := FENCE.match(bare[at].rstrip()):
            close = _closing(bare, at, fence)
            inside = [line.removeprefix(fence[1]) for line in bare[end:close]]
            info = fence[3].strip()
            is_diff = info.lower() in ("diff", "patch", "udiff")
            edits = _edits(inside, (said, *names), is_diff) or _whole(inside, info, said)
            is_closed, end = close < len(bare), min(close + 1, len(bare))
        elif _starts(bare, at):
            end = _end(bare, at)
            edits = _edits(bare[at:end], (said, *names))
            is_closed = is_closed or end < len(bare)
        if edits:
            rest = itertools.takewhile(lambda i: not _starts(bare, i), range(end, len(bare)))
            lost = any(MAYBE_EDIT.match(bare[i]) for i in rest)
            if not is_closed or (lost and edits[-1].whole is None):
                _cut_off(edits[-1])
            names = edits[-1].names()
        segments.append(Segment("".join(lines[at:end]), tuple(edits)))
        said = "" if edits else bare[at] if bare[at].strip() else said
        at = end
    return segments


def _closing(lines: list[str], at: int, fence: re.Match[str]) -> int:
    """Where a fence ends: not deeper than it was opened, as a context line may be; what is opened
    inside with a word is closed inside."""
    mark = re.compile(rf"[ \t]{{0,{len(fence[1])}}}{fence[2]}{fence[2][0]}*\s*(\w*)\s*$")
    depth = 1
    for end in range(at + 1, len(lines)):
        if found := mark.match(lines[end]):
            depth += 1 if found[1] else -1
            if not depth:
                return end
    return len(lines)


def _cut_off(last: FileEdit) -> None:
    """Say so of an edit that was not seen to end, unless its counts say that it did, or it has
    lines of the file after all that it changes."""
    is_done = bool(last.old) and last.whole is None
    for hunk in last.hunks[-1:]:
        is_done = hunk.lines[-1:] and hunk.lines[-1][0] in " ?"
        if hunk.promised:
            is_done = hunk.short() == (0, 0)
    if not is_done:
        last.trouble = last.trouble or "is cut off"


def _whole(inside: list[str], info: str, said: str) -> list[FileEdit]:
    """A block that may be a file or a part of one: named by its fence, by a comment in its first
    line, or by the line before."""
    label = inside[0] if inside and COMMENT.match(inside[0]) else ""
    if not inside or not (said or re.search("[./]", info + label)):
        return []
    text = "".join(f"{line}\n" for line in inside)
    return [FileEdit(form="file", whole=text, said=(info, label, said))]


def _is_pair(lines: list[str], at: int, hunk: Hunk | None = None) -> bool:
    """Whether two lines name a file. An edit may remove `-- x` and add `++ y`: so a hunk or the end
    must follow, and the hunk before must not promise just these."""
    old, new, after = [*lines[at : at + 3], "", "", ""][:3]
    if not (old.startswith("--- ") and new.startswith("+++ ")):
        return False
    left = hunk.short() if hunk and hunk.promised and lines[at - 1].strip() else (0, 0)
    if HUNK.match(after):
        return left != (1, 1)
    return min(left) < 1 and (not after.strip() or bool(FENCE.match(after)))


def _starts(lines: list[str], at: int) -> bool:
    """Whether an edit may begin here, outside of fences."""
    is_header = HEADER.match(lines[at]) and lines[at].startswith(STARTS)
    return bool(is_header or HUNK.match(lines[at]) or SEARCH.match(lines[at])) or _is_pair(
        lines, at
    )


def _end(lines: list[str], at: int) -> int:
    """The line after an edit that begins here and has no fence."""
    end, in_block = at, False
    for here in range(at, len(lines)):
        line, before = lines[here], lines[here - 1] if here > at else ""
        in_block = bool(SEARCH.match(line)) or (in_block and not REPLACE.match(before))
        is_item = ITEM.match(line) and (not before or line == "-- ")
        is_marked = line[:1] in (" ", "+", "-", "\\") and not is_item
        is_header = HEADER.match(line) or (before[:1].islower() and HEADER.match(before))
        if in_block or is_marked or is_header or _starts(lines, here):
            end = here + 1 if line.strip() or in_block else end
        elif line.strip():
            break
    return end


def _edits(lines: list[str], names: tuple[str, ...], is_diff: bool = False) -> list[FileEdit]:
    """What diffs, patches and blocks say. `names` may name the file; `is_diff` says that lines with
    a mark are changes, even without a header."""
    edits: list[FileEdit] = []
    hunk, said, at, is_ended, is_unread = None, "", 0, False, False
    while at < len(lines):
        line, after = lines[at], "".join(lines[at + 1 : at + 2])
        last = edits[-1] if edits else FileEdit()
        header, head = HEADER.match(line.rstrip()), HUNK.match(line)
        is_bare = line[:1] in (" ", "+", "-") and (last.form == "patch" or (is_diff and not edits))
        if _is_pair(lines, at, hunk):
            pair = [_unquoted(each[4:].partition("\t")[0].rstrip()) for each in (line, after)]
            old, new = (None if name == "/dev/null" else name for name in pair)
            known = {*map(_core, (last.old, last.new))} <= {_core(old), _core(new), ""}
            if not edits or last.hunks or not known:
                edits.append(FileEdit())
            edits[-1].old, edits[-1].new, edits[-1].trouble = old, new, NO_HUNK
            hunk, at = None, at + 1
        elif header and (line.startswith(STARTS) or (edits and not hunk)):
            _read_header(header[1], header[2] or "", edits)
            hunk, is_ended = None, header[1] == "*** End Patch"
        elif SEARCH.match(line):
            end = next((i for i in range(at, len(lines)) if REPLACE.match(lines[i])), len(lines))
            edits.append(_block(lines[at + 1 : end], end < len(lines)))
            edits[-1].said = (said, *last.names(), *names)
            at, said, hunk = end, "", None
        elif head or (is_bare and not hunk):
            edits = edits or [FileEdit(said=names)]
            edits[-1].trouble = edits[-1].trouble.replace(NO_HUNK, "")
            start, old, new_start, new = head.groups() if head else [None] * 4
            promised = (int(old or 1), int(new or 1)) if new_start else None
            hunk = Hunk(int(start) if start else None, promised)
            edits[-1].hunks.append(hunk)
            if not head:
                hunk.add(line)
        elif hunk:
            hunk.add(line)
        elif line.strip():
            said, is_unread = line, is_unread or bool(edits and not is_ended)
        at += 1
    for edit in edits:
        is_same = not edit.said and _core(edit.old) == _core(edit.new)
        if is_same and not (edit.hunks or edit.mode or edit.trouble):
            edit.trouble = NO_HUNK
    for hunk in (each for edit in edits for each in edit.hunks):
        while hunk.lines[-1:] == [("?", "")]:
            hunk.lines.pop()
        hunk.lines = [
            (mark if line.strip() else mark.replace("?", " "), line) for mark, line in hunk.lines
        ]
    if is_unread and edits[-1].form != "search/replace":
        edits[-1].trouble = "has lines that are not understood"
    return edits


def _read_header(key: str, value: str, edits: list[FileEdit]) -> None:
    """Take in one line about a file."""
    name = _unquoted(value)
    if key == "diff --git":
        same = GIT.match(value)
        names = (f"a/{same[1]}", f"b/{same[1]}") if same else (None, None)
        edits.append(FileEdit(*names, trouble="" if same else "has a header of two names"))
    elif key.endswith(" File:"):
        old, new = None if "Add" in key else value, None if "Delete" in key else value
        edits.append(FileEdit(old, new, "patch"))
    elif not edits:
        return
    elif key == "*** Move to:":
        edits[-1].new = value
    elif key == "rename from":
        edits[-1].old, edits[-1].trouble = f"a/{name}", HALF
    elif key == "rename to":
        edits[-1].new, edits[-1].trouble = f"b/{name}", HALF * (edits[-1].trouble != HALF)
    elif "mode" in key:
        edits[-1].mode = value if key.startswith("new") else edits[-1].mode
        edits[-1].old = None if key == "new file mode" else edits[-1].old
        edits[-1].new = None if key == "deleted file mode" else edits[-1].new


def _block(lines: list[str], is_closed: bool) -> FileEdit:
    """One search/replace block as a hunk: the smallest diff from the one text to the other."""
    edit = FileEdit(form="search/replace")
    split = [i for i, line in enumerate(lines) if DIVIDER.match(line)]
    if not is_closed or len(split) != 1:
        edit.trouble = "is cut off, or has more than one divider"
        return edit
    old, new = lines[: split[0]], lines[split[0] + 1 :]
    old = old if any(map(str.strip, old)) else []
    edit.hunks = [Hunk(lines=smallest(old, new))]
    return edit


def smallest(old: list[str], new: list[str]) -> list[tuple[str, str]]:
    """The diff of two runs of lines, as lines of a hunk."""
    diff = [*difflib.unified_diff(old, new, n=len(old), lineterm="")][3:]
    return [(line[0], line[1:]) for line in diff] or [(" ", line) for line in old]


def _core(name: str | None) -> str:
    """A path without what git may put before it."""
    return re.sub("^[abciow]/", "", name or "")


def _unquoted(text: str) -> str:
    """A path without git's quotes and escapes, which are C's."""
    if not re.fullmatch(r'".+"', text):
        return text
    try:
        return text[1:-1].encode().decode("unicode_escape").encode("latin-1").decode()
    except UnicodeError:
        return text
