"""Edits as models write them: where they stand in a reply, and what they say.

Reads unified diffs, `*** Begin Patch` patches, search/replace blocks, and whole files or
definitions under a path. Knows no files. Invariants: every line of a reply is in one segment; what
may be part of an edit and cannot be read is told in `FileEdit.trouble`, never dropped.
"""

import difflib
import itertools
import re
from dataclasses import dataclass, field

from patches.unified import lines_of
from shapes import frozen

FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})([^`\n]*)$")
HUNK = re.compile(
    r"@@(?: *-(\d{1,9})(?:,(\d{1,9}))?(?: +\+(\d{1,9})(?:,(\d{1,9}))?)?)?(?: *@@)?(?=[ \r]|$)(.*)"
)
HEADER = re.compile(  # git's, Subversion's, and those of OpenAI's apply_patch
    r"(diff --git|(?:old|new|new file|deleted file) mode|rename (?:from|to)|index|Index:|=====+$"
    r"|(?:dis)?similarity index|\*\*\* (?:(?:Begin|End) Patch|End of File|Move to:"
    r"|(?:Update|Add|Delete) File:))(?: (.*))?$"
)
GIT = re.compile(r"(?:a/)?(.{1,999}) (?:b/)?\1$")  # both names the same
SEARCH = re.compile(r"(?:<{5,9}|-{5,9}) ?(?:SEARCH|ORIGINAL|OLD)\b", re.I)
DIVIDER = re.compile(r"={5,9}\s*$")
REPLACE = re.compile(r"(?:>{5,9}|\+{5,9}) ?(?:REPLACE|UPDATED|NEW)\b", re.I)
MAYBE_EDIT = re.compile(r"[-+](?! \S|-*\s*$)")  # else a list, a rule or a signature
PATH = r"(?<![\w./])(?:[\w.@+-]+/)*(?:[\w.@+-]*\w\.\w{1,9}|\.\w+|[A-Z]\w+file)(?![\w/]|:\d|\.\w)"
SHELL = re.compile(r"(ba|z|fi|power)?sh\b|shell|console|text\b|output", re.I)
LABEL = re.compile(rf"(?:#|//|--|/\*|<!--)\s*(?:file\w*:\s*)?({PATH})\s*(?:\*/|-->)?$", re.I)
# A line that holds no more than a path, or that says that a file is to be written so.
ALONE = re.compile(
    r"[^\w./]*(?:(?:new |updated |full )?(?:file|filename|path)\b[^\w./]+)?"
    r"((?:\w|\.\w)[^`*\n]*?)[\s:`*]*(?:\([^)]*\)\W*)?$",
    re.I,
)
HEADING = re.compile(
    r".*(updat|chang|replac|rewrit|new|creat|add|fix|modif|full|complet|revis|whole|edit|improv"
    r"|refactor|becom|should|with\b).*:\W*$",
    re.I,
)


@dataclass
class Hunk:
    """Lines of the file with their mark: " ", "-", "+", or "?" for one that has none."""

    start: int | None = None  # 1-based, as the header says
    promised: tuple[int, int] | None = None  # old and new lines, as the header says
    heading: str = ""
    lines: list[tuple[str, str]] = field(default_factory=list)
    open_ended: set[str] = field(default_factory=set)  # sides without a last newline

    def add(self, line: str) -> None:
        marked = line[:1] in (" ", "+", "-")
        self.lines.append((line[0], line[1:]) if marked else ("?" if line else " ", line))

    def side(self, mark: str) -> list[str]:
        return [text for each, text in self.lines if each in (" ", "?", mark)]

    def short(self) -> tuple[int, int]:
        """How many old and new lines are promised beyond those that are there."""
        if not self.promised:
            return 1, 1 << 30  # as good as unknown
        return self.promised[0] - len(self.side("-")), self.promised[1] - len(self.side("+"))


@dataclass
class FileEdit:
    """What a reply says of one file. `old` is None for a new file, `new` for one that goes."""

    old: str | None = None
    new: str | None = None
    form: str = "diff"
    hunks: list[Hunk] = field(default_factory=list)
    whole: str | None = None  # the text of the file, or of some of its definitions
    label: str = ""  # a comment before it that only names the path, unless it is the file's own
    is_sure: bool = False  # nothing but the path is said of the whole
    mode: str = ""
    trouble: str = ""


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
    at, said, path = 0, "", ""
    while at < len(bare):
        edits: list[FileEdit] = []
        end, is_closed = at + 1, lines[-1].endswith("\n")
        if fence := FENCE.match(bare[at].rstrip()):
            close = _closing(bare, at, fence)
            inside = [line.removeprefix(fence[1]) for line in bare[end:close]]
            info = fence[3].strip()
            is_diff = info.lower() in ("diff", "patch", "udiff")
            edits = _read(inside, _named(said) or path, is_diff)[0] or _whole(inside, info, said)
            is_closed, end = close < len(bare), min(close + 1, len(bare))
        elif _starts(bare, at) or SEARCH.match(bare[at]):
            edits, used = _read(bare[at:], _named(said) or path, None)
            end = at + max(used, 1)
            is_closed = is_closed or end < len(bare)
        if edits:
            until = itertools.takewhile(lambda i: not _starts(bare, i), range(end, len(bare)))
            lost = any(MAYBE_EDIT.match(bare[i]) for i in until)
            if not is_closed or (lost and edits[-1].whole is None):
                _cut_off(edits[-1])
            path = edits[-1].new or edits[-1].old or ""
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
    """Say so of an edit that was not seen to end, unless its own counts say that it did."""
    hunk = last.hunks[-1] if last.hunks else Hunk()
    is_done = hunk.short() == (0, 0) if hunk.lines else bool(last.old) and last.whole is None
    if not hunk.promised and hunk.lines and hunk.lines[-1][0] in " ?":
        is_done = True  # all that it changes stands before lines of the file
    if not is_done:
        last.trouble = last.trouble or "is cut off"


def _named(said: str, as_heading: bool = False) -> str:
    """The path that a line before an edit names, or "". A line that ends in a path may be a name
    with spaces: whoever knows the files decides."""
    alone, heads = ALONE.match(said), HEADING.match(said)
    is_name = alone and re.fullmatch(r"(?!.*:\d)(\S+|.*\.\w{1,9})", alone[1])
    if is_name and (" " not in alone[1] or not heads):
        return alone[1]
    found = set(re.findall(PATH, said))
    return found.pop() if len(found) == 1 and (heads or not as_heading) else ""


def _whole(inside: list[str], info: str, said: str) -> list[FileEdit]:
    """A block under a path is a file or a part of one. What names none is an example."""
    told = re.sub(r"^\w+[:\s]\s*|\w+=|[\"{}]", "", info)
    label = LABEL.match(inside[0]) if inside else None
    alone = ALONE.match(said)
    is_sure = bool(label or re.search(PATH, told) or (alone and " " not in alone[1]))
    path = told if re.search(PATH, told) else label[1] if label else _named(said, as_heading=True)
    if not path or not inside or (SHELL.match(info) and not is_sure):
        return []
    is_label = bool(label) and label[1] == path
    text = "".join(f"{line}\n" for line in inside[is_label:])
    taken = inside[0] if is_label else ""
    return [FileEdit(path, path, "file", whole=text, label=taken, is_sure=is_sure)]


def _starts(lines: list[str], at: int) -> bool:
    """Whether a diff may begin here; an edit may remove a line `-- x`, so a hunk must follow."""
    old, new, after = [*lines[at : at + 3], "", "", ""][:3]
    if old.startswith("--- ") and new.startswith("+++ "):
        return not after.strip() or bool(HUNK.match(after) or FENCE.match(after))
    is_header = HEADER.match(old) and old.startswith(("diff --git ", "*** ", "Index: "))
    return bool(is_header or HUNK.match(old))


def _read(lines: list[str], path: str, is_diff: bool | None) -> tuple[list[FileEdit], int]:
    """The edits, and the line after them. `path` is named before; `is_diff` is None outside of
    fences, where prose may follow."""
    edits: list[FileEdit] = []
    fenced, unread, ended = is_diff is not None, False, False
    at = end = 0
    while at < len(lines):
        line, last = lines[at], edits[-1] if edits else None
        after = "".join(lines[at + 1 : at + 2])
        header = HEADER.match(line.rstrip())
        lone = re.match(r"(?:---|\+\+\+) (\S+)", line)
        is_loose = (last and last.form == "patch") or (is_diff and not last)  # needs no @@
        if not line.strip():
            at += 1
            continue
        if header and (last or line[0] in "d*I"):
            ended = header[1] == "*** End Patch"
            _read_header(header[1], header[2] or "", edits)
            at += 1
        elif SEARCH.match(line):
            edit, at = _read_block(lines, at, path)
            edits.append(edit)
        elif _starts(lines, at) and lone:
            names = [_unquoted(each[4:].partition("\t")[0].rstrip()) for each in (line, after)]
            old, new = (None if name == "/dev/null" else name for name in names)
            if not last or last.hunks or not {last.old, last.new} <= {old, new, None}:
                edits.append(FileEdit())
            edits[-1].old, edits[-1].new, edits[-1].trouble = old, new, ""
            at += 2
            if not HUNK.match(next(filter(str.strip, lines[at:]), "")):
                edits[-1].trouble = "has a header and no hunk"
        elif lone and HUNK.match(after):  # half a header
            edits.append(FileEdit(lone[1], lone[1]))
            at += 1
        elif HUNK.match(line) or (is_loose and line[0] in " +-"):
            edits = edits or [FileEdit(path or None, path or None)]
            at = _read_hunk(lines, at, edits[-1], fenced)
        elif fenced and any(SEARCH.match(each) for each in lines[at + 1 : at + 3]):
            path = _named(line) or path
            at += 1
        else:
            unread = unread or bool(last and not ended and (fenced or not last.hunks))
            if last and not fenced:
                break
            at += 1
            continue
        path = (edits[-1].new or edits[-1].old or path) if edits else path
        end = at
    if unread and edits[-1].form != "search/replace":
        edits[-1].trouble = "has lines that are not understood"
    return edits, end


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
        edits[-1].old, edits[-1].trouble = f"a/{name}", "is renamed to nothing"
    elif key == "rename to":
        is_pair = edits[-1].trouble == "is renamed to nothing"
        edits[-1].new, edits[-1].trouble = f"b/{name}", "" if is_pair else "comes from nowhere"
    elif key in ("new mode", "new file mode"):
        edits[-1].mode = value
        edits[-1].old = None if key == "new file mode" else edits[-1].old
    elif key == "deleted file mode":
        edits[-1].new = None


def _read_hunk(lines: list[str], at: int, edit: FileEdit, fenced: bool) -> int:
    """Read a hunk into `edit`; the line after it."""
    hunk = Hunk()
    if head := HUNK.match(lines[at]):
        start, old, new_start, new, heading = head.groups()
        hunk.start, hunk.heading = int(start) if start else None, heading.strip(" @.\r")
        hunk.promised = (int(old or 1), int(new or 1)) if new_start else None
        at += 1
    crlf = "\r" * bool(head and lines[at - 1].endswith("\r"))
    end, blanks = at, 0
    left = list(hunk.promised or (-1, -1))  # old and new lines still to come
    for here in range(at, len(lines)):
        line = lines[here].removesuffix(crlf)
        is_head = _starts(lines, here)
        if is_head and line.startswith("--- "):  # or else it removes `-- x` and adds `++ y`
            is_last = HUNK.match("".join(lines[here + 2 : here + 3]))
            is_head = bool(blanks) or (left != [1, 1] if is_last else min(left) < 1)
        if line.startswith("\\") and hunk.lines:
            mark = hunk.lines[-1][0]
            hunk.open_ended |= {"-", "+"} if mark in " ?" else {mark}
        elif not line.strip("\r"):  # a blank line that has lost its mark, or none of it
            blanks += 1
            continue
        elif is_head or (not fenced and _is_prose(line, blanks, left)):
            break
        else:
            for each in [*[""] * blanks, line]:
                hunk.add(each)
                left[0] -= not each.startswith("+")
                left[1] -= not each.startswith("-")
            blanks = 0
        end = here + 1
    edit.hunks.append(hunk)
    return end


def _is_prose(line: str, blanks: int, left: list[int]) -> bool:
    """Whether a line after a diff without a fence is none of it."""
    is_over = left == [0, 0]
    if line[0] in " +-":
        return is_over and (bool(blanks) or line == "-- ")  # the signature of git format-patch
    return is_over or bool(blanks) or bool(FENCE.match(line))


def _read_block(lines: list[str], at: int, path: str) -> tuple[FileEdit, int]:
    """One search/replace block as a hunk: the smallest diff from the one text to the other."""
    edit = FileEdit(path or None, path or None, "search/replace")
    close = next((i for i in range(at, len(lines)) if REPLACE.match(lines[i])), len(lines))
    split = [i for i in range(at, close) if DIVIDER.match(lines[i])]
    if close == len(lines) or len(split) != 1:
        edit.trouble = "is cut off, or has more than one divider"
        return edit, min(close + 1, len(lines))
    old, new = lines[at + 1 : split[0]], lines[split[0] + 1 : close]
    if not any(line.strip() for line in old):
        edit.old, old = None, []
    edit.hunks = [Hunk(lines=smallest(old, new))]
    return edit, close + 1


def smallest(old: list[str], new: list[str]) -> list[tuple[str, str]]:
    """The smallest diff of two runs of lines, as lines of a hunk."""
    found: list[tuple[str, str]] = []
    is_long = len(old) + len(new) > 2000  # then frequent lines would take minutes
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=is_long)
    for _, i, j, k, m in matcher.get_opcodes():
        kept = old[i:j] == new[k:m]
        found += [(" " if kept else "-", line) for line in old[i:j]]
        found += [("+", line) for line in new[k:m] if not kept]
    return found


def _unquoted(text: str) -> str:
    """A path without git's quotes and escapes, which are C's."""
    if not re.fullmatch(r'".+"', text):
        return text
    try:
        return text[1:-1].encode().decode("unicode_escape").encode("latin-1").decode()
    except UnicodeError:
        return text
