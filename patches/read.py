"""Unified diffs as models write them: where they stand in a reply, and what they say.

Knows nothing of any repository. Invariants: every line of a reply belongs to exactly one segment,
and nothing of an edit is guessed: what cannot be read is told in `FileEdit.trouble`.
"""

import re
from dataclasses import dataclass, field

FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[^`\n]*$")
HUNK = re.compile(r"@@+ *(?:-(\d+)(?:,(\d+))? +\+(\d+)(?:,(\d+))?)?.*?(?:@@+|$)")
GIT = re.compile(r"diff --git (.+)")
NO_NEWLINE = "\\ No newline"


@dataclass
class Hunk:
    """Lines of the file with their mark: " ", "-" or "+". Counts and numbers are evidence only."""

    start: int | None  # the old side's first line, 1-based, as the header says
    counts: tuple[int, int] | None  # old and new lines, as the header says
    lines: list[tuple[str, str]] = field(default_factory=list)
    open_ended: set[str] = field(default_factory=set)  # sides without a last newline

    def side(self, mark: str) -> list[str]:
        """The lines of the old ("-") or the new ("+") side."""
        return [text for each, text in self.lines if each in (" ", mark)]

    def missing(self) -> bool:
        """Whether there are fewer lines than the header promises."""
        have = len(self.side("-")), len(self.side("+"))
        return bool(self.counts) and (have[0] < self.counts[0] or have[1] < self.counts[1])


@dataclass
class FileEdit:
    """What a diff says of one file; a path is None for /dev/null or when it is not given."""

    old_path: str | None = None
    new_path: str | None = None
    hunks: list[Hunk] = field(default_factory=list)
    create: bool = False
    delete: bool = False
    rename: bool = False
    mode: str = ""
    trouble: str = ""

    @property
    def path(self) -> str:
        return self.new_path or self.old_path or ""


@dataclass(frozen=True)
class Segment:
    text: str
    is_edit: bool
    edits: tuple[FileEdit, ...] = ()


def find(reply: str) -> list[Segment]:
    """The reply taken apart into prose and edits; the texts joined are the reply again."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", reply)
    bare = [line.rstrip("\r\n") for line in lines]
    segments: list[Segment] = []
    prose = index = 0
    while index < len(lines):
        fence = FENCE.match(bare[index])
        if fence:
            inside, end = index + 1, _fence_end(bare, index, fence)
            closed = end < len(lines)
            edits = read(_unindented(lines[inside:end], fence[1]), whole=closed)
            end = min(end + 1, len(lines))
        elif _starts(bare, index):
            edits, end = _Reader(lines, index, whole=lines[-1].endswith("\n")).run(bare_diff=True)
        else:
            index += 1
            continue
        if edits:
            if prose < index:
                segments.append(Segment("".join(lines[prose:index]), False))
            segments.append(Segment("".join(lines[index:end]), True, tuple(edits)))
            prose = end
        index = end
    if prose < len(lines):
        segments.append(Segment("".join(lines[prose:]), False))
    return segments


def read(lines: list[str], whole: bool = True) -> list[FileEdit]:
    """The edits in the lines of a fence; `whole` says that the fence was closed."""
    bare = [line.rstrip("\r\n") for line in lines]
    start = next((i for i in range(len(bare)) if _starts(bare, i) or _is_hunk(bare[i])), None)
    return [] if start is None else _Reader(lines, start, whole).run(bare_diff=False)[0]


def _is_hunk(line: str) -> bool:
    return line.startswith("@@") and HUNK.match(line) is not None


def _fence_end(bare: list[str], index: int, fence: re.Match[str]) -> int:
    """The line that closes the fence: at its own indent, because a context line, which has one
    more blank, may hold a fence itself."""
    close = re.compile(re.escape(fence[1]) + re.escape(fence[2]) + fence[2][0] + r"*[ \t]*$")
    return next((i for i in range(index + 1, len(bare)) if close.match(bare[i])), len(bare))


def _unindented(lines: list[str], indent: str) -> list[str]:
    return [line.removeprefix(indent) for line in lines]


def _starts(bare: list[str], index: int) -> bool:
    """Whether a file's header begins here. `---` and `+++` are one only when a hunk or the end
    follows: an edit may remove a line `-- x`."""
    if GIT.match(bare[index]):
        return True
    after = bare[index + 1 : index + 3]
    return (
        bare[index].startswith("--- ")
        and after[:1] != []
        and after[0].startswith("+++ ")
        and (len(after) < 2 or not after[1] or _is_hunk(after[1]))
    )


class _Reader:
    """Reads files and hunks from a line on."""

    def __init__(self, lines: list[str], start: int, whole: bool) -> None:
        self.lines, self.index, self.whole = lines, start, whole
        self.bare = [line.rstrip("\r\n") for line in lines]
        self.edits: list[FileEdit] = []

    def run(self, bare_diff: bool) -> tuple[list[FileEdit], int]:
        """The edits, and the line after them. A bare diff ends where prose begins; in a fence
        such a line is a fault."""
        while self.index < len(self.bare):
            line = self.bare[self.index]
            if GIT.match(line):
                self._git_header()
            elif _starts(self.bare, self.index):
                self._file_header()
            elif _is_hunk(line):
                if not self.edits:
                    self.edits.append(FileEdit())
                self._hunk(bare_diff)
            elif not line.strip():
                if bare_diff and not self._goes_on():
                    break
                self.index += 1
            elif bare_diff:
                break
            elif self.edits and self.edits[-1].hunks:
                hunk = self.edits[-1].hunks[-1]
                if hunk.missing() or line[0] in " +-":
                    self.edits[-1].trouble = f"the line {line!r} has none of the marks ' ', +, -"
                break
            else:
                self.index += 1  # `index abc..def` and the like
        return self.edits, self.index

    def _goes_on(self) -> bool:
        following = range(self.index + 1, len(self.bare))
        after = next((i for i in following if self.bare[i].strip()), None)
        return after is not None and (_starts(self.bare, after) or _is_hunk(self.bare[after]))

    def _git_header(self) -> None:
        edit = FileEdit()
        edit.old_path, edit.new_path = _git_paths(GIT.match(self.bare[self.index])[1])
        self.edits.append(edit)
        self.index += 1
        while self.index < len(self.bare):
            line = self.bare[self.index]
            word = line.partition(" ")[0]
            if line.startswith("new file mode "):
                edit.create, edit.mode, edit.old_path = True, line.rpartition(" ")[2], None
            elif line.startswith("deleted file mode "):
                edit.delete, edit.new_path = True, None
            elif line.startswith("new mode "):
                edit.mode = line.rpartition(" ")[2]
            elif line.startswith("rename from "):
                edit.rename, edit.old_path = True, _unquoted(line.removeprefix("rename from "))
            elif line.startswith("rename to "):
                edit.rename, edit.new_path = True, _unquoted(line.removeprefix("rename to "))
            elif line.startswith(("copy from ", "copy to ")):
                edit.trouble = "copying a file is not supported; create the new file instead"
            elif line.startswith(("Binary files ", "GIT binary patch")):
                edit.trouble = "binary files cannot be edited"
            elif line.startswith("--- ") and _starts(self.bare, self.index):
                self._paths(edit)
                return
            elif word not in ("old", "index", "similarity", "dissimilarity"):
                return
            self.index += 1

    def _file_header(self) -> None:
        self.edits.append(FileEdit())
        self._paths(self.edits[-1])

    def _paths(self, edit: FileEdit) -> None:
        old, new = (_header_path(self.bare[self.index + n][4:]) for n in (0, 1))
        edit.create, edit.delete = edit.create or old is None, edit.delete or new is None
        edit.old_path, edit.new_path = old, new
        self.index += 2

    def _hunk(self, bare_diff: bool) -> None:
        numbers = HUNK.match(self.bare[self.index])
        start, old, _, new = (int(n) if n else None for n in numbers.groups())
        counts = (
            (1 if old is None else old, 1 if new is None else new) if start is not None else None
        )
        hunk = Hunk(start, counts)
        self.edits[-1].hunks.append(hunk)
        self.index += 1
        while self.index < len(self.lines):
            line = self.lines[self.index].removesuffix("\n")
            done = not hunk.missing()
            if line.startswith(NO_NEWLINE) and hunk.lines:
                mark = hunk.lines[-1][0]
                hunk.open_ended |= {"-", "+"} if mark == " " else {mark}
            elif done and (_starts(self.bare, self.index) or _is_hunk(line)):
                return
            elif not line.strip("\r"):  # a blank context line that lost its mark, or the end
                if done and not self._continues(bare_diff):
                    return
                hunk.lines.append((" ", line))
            elif line[0] in " +-":
                hunk.lines.append((line[0], line[1:]))
            else:
                return
            self.index += 1
        if hunk.missing() and not self.whole:
            self.edits[-1].trouble = "it is cut off in the middle of a hunk"

    def _continues(self, bare_diff: bool) -> bool:
        """Whether lines of the hunk follow a blank one though it has all it promised, so that the
        counts are wrong. A list in the prose behind a bare diff is no such line."""
        following = (line for line in self.bare[self.index + 1 :] if line.strip())
        after = next(following, "x")
        return after[0] in " +-" and not (bare_diff and re.match(r"[-+] ", after))


def _header_path(text: str) -> str | None:
    """The path of a `---` or `+++` line; None for /dev/null."""
    path = _unquoted(text.split("\t")[0].rstrip() if not text.startswith('"') else text.rstrip())
    return None if path == "/dev/null" else path


def _git_paths(text: str) -> tuple[str, str]:
    """The two paths of a `diff --git` line, which git does not part clearly."""
    if text.startswith('"'):
        old, _, new = text[1:].partition('" ')
        return _unquoted(f'"{old}"'), _unquoted(new)
    half = len(text) // 2
    if text[:half].partition("/")[2] == text[half + 1 :].partition("/")[2]:
        return text[:half], text[half + 1 :]
    old, _, new = text.partition(" b/")
    return old, f"b/{new}"


ESCAPES = {"n": b"\n", "t": b"\t", "r": b"\r", '"': b'"', "\\": b"\\", "a": b"\a", "b": b"\b"}
ESCAPES |= {"f": b"\f", "v": b"\v"}


def _unquoted(text: str) -> str:
    """A path as git quotes it: in C's way, in double quotes, when it has odd characters."""
    if not (len(text) > 1 and text.startswith('"') and text.endswith('"')):
        return text
    parts = re.findall(r"\\([0-7]{3})|\\(.)|([^\\]+)", text[1:-1])
    data = b"".join(
        bytes([int(octal, 8) & 255]) if octal else ESCAPES.get(one, one.encode()) or plain.encode()
        for octal, one, plain in parts
    )
    return data.decode("utf-8", "surrogateescape")
