"""What the files of a repository become by an edit, in memory.

Knows nothing of checks or commits. Invariants: all of an edit fits, or the whole of it is refused;
bytes that it does not change stay; no path leaves the repository.
"""

import difflib
import itertools
import re
from pathlib import PurePosixPath

from patches.place import Run, changed, place
from patches.read import FileEdit
from patches.whole import rewrite_lines
from repo import Repo
from shapes import Change, Note, SourceFile, WorkbenchError, frozen

MAX_PARTS, MAX_BYTES, MAX_NAME = 1000, 4_000_000, 500
MODES = ("100644", "100755")
ODD_NAME = re.compile(
    r"(^|/)((con|prn|aux|nul|com\d|lpt\d)(\.|/|$)| |[^/]{100})|[ .](/|$)|.{500}", re.I
)
ONE_DIFF = "Send one diff for each file, and one hunk for each place."
BOM = "\ufeff"


@frozen
class Fitted:
    change: Change
    before: str
    note: Note


def fit(repo: Repo, edits: list[FileEdit], base: str = "") -> list[Fitted]:
    """What every file becomes. `base` is the commit that the edit was made for: where a file has
    changed since, both changes are merged. WorkbenchError says why an edit is not taken."""
    if sum(1 + len(edit.hunks) for edit in edits) > MAX_PARTS:
        raise WorkbenchError("The edit is too large.", "Send less.")
    modes = repo.modes()
    edits = [edit for edit in edits if not _is_example(repo, edit, modes)]
    together: dict[tuple[str | None, str | None], list[FileEdit]] = {}
    for edit in edits:
        together.setdefault(_paths(edit, modes), []).append(edit)
    named = [path.lower() for pair in together for path in set(pair) if path]
    for path in named:
        if named.count(path) > 1 or any(str(up) in named for up in PurePosixPath(path).parents):
            raise WorkbenchError(f"{path} is edited twice, or is a folder.", ONE_DIFF)
    return [_fit_file(repo, old, new, parts, modes, base) for (old, new), parts in together.items()]


def _is_example(repo: Repo, edit: FileEdit, modes: dict[str, str]) -> bool:
    """Whether a block only quotes a file, or stands under a word that is no path."""
    if edit.whole is None or edit.trouble:
        return False
    name = _ending(edit.old, modes)
    if name not in modes:
        return not re.fullmatch(r"\S*[./]\S*", edit.old)
    file = repo.text(name)
    quoted, lines = (
        [line.strip() for line in text.split("\n") if line.strip()]
        for text in (edit.whole, file.text if file else "")
    )
    return "\n".join(["", *quoted, ""]) in "\n".join(["", *lines, ""])


def _ending(path: str, modes: dict[str, str]) -> str:
    """The file that a sentence ends in, or the path as it is."""
    last = path.rpartition(" ")[2]
    return last if path not in modes and last in modes else path


def _paths(edit: FileEdit, modes: dict[str, str]) -> tuple[str | None, str | None]:
    """The paths before and after: without git's `a/` and `b/`, else as written."""
    name = edit.new or edit.old
    if edit.trouble or not name or len(name) > MAX_NAME:
        why = edit.trouble or f"is longer than {MAX_NAME}" * bool(name) or "names no file"
        raise WorkbenchError(f"{(name or 'The edit')[:60]} {why}.", "Send the whole edit again.")
    written = [path and str(PurePosixPath(path)) for path in (edit.old, edit.new)]
    short = [path and re.sub("^[abciow]/", "", path) for path in written]
    both = (written, short) if edit.old == edit.new else (short, written)
    old, new = next((pair for pair in both if pair[0] in modes or pair[1] in modes), both[0])
    if old and new and old not in modes:
        last = _ending(new, modes)
        if last in modes:
            return last, last  # the old name was made up, or a sentence
        adds = edit.whole is not None or all(
            mark == "+" for hunk in edit.hunks for mark, _ in hunk.lines
        )
        alike = [path for path in modes if path.endswith(f"/{new}")]
        if adds and not alike and " " not in new:
            return None, new
    return old, new


def _fit_file(
    repo: Repo,
    old: str | None,
    new: str | None,
    parts: list[FileEdit],
    modes: dict[str, str],
    base: str,
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
    after, told = _after(repo, file, parts, base)
    if not new and after and any(part.hunks for part in parts):
        raise WorkbenchError(f"{old} has lines that the diff does not delete.", "Send all of it.")
    if old == new and after == file.text and mode == old_mode:
        raise WorkbenchError(f"The edit changes nothing in {old}.", "Ask for another change.")
    action = "create" if not old else "delete" if not new else "modify" if old == new else "rename"
    moved = old if action == "rename" else None
    text, sha, encoding = after if new else None, file.sha or None, file.encoding
    change = Change(path, action, text, sha, encoding, moved, mode if new else old_mode, old_mode)
    return Fitted(change, file.text, Note("placed", True, f"{path}: {told or 'no hunk'}"))


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


def _after(repo: Repo, file: SourceFile, parts: list[FileEdit], base: str) -> tuple[str, str]:
    """The new text, and in words how it came about."""
    hunks = [hunk for part in parts for hunk in part.hunks]
    has_bom = file.text.startswith(BOM)
    has_bom &= not any(line.startswith(BOM) for hunk in hunks for _, line in hunk.lines)
    lines = _lines(file.text.removeprefix(BOM * has_bom))
    try:
        runs, told = _changed(file.path, lines, parts)
    except WorkbenchError as error:
        shown = repo.try_git("cat-file", "blob", f"{base}:{file.path}") if base else (1, b"", "")
        before = _lines(shown[1].decode(file.encoding, "replace").removeprefix(BOM * has_bom))
        if shown[0] or before == lines:
            raise
        try:
            runs, told = _changed(file.path, before, parts)
        except WorkbenchError:
            raise error from None
        runs, told = _merged(file.path, before, lines, runs), f"{told}, merged with what came since"
    margins = {line[0] for line in lines if line[:1] in (" ", "\t") and line.strip()}
    other = {" ": r"\t+\S", "\t": r"  +\S"}.get("".join(margins), r"(?!)")
    if any(re.match(other, line) for run in runs for line in run[2]):
        why = f"{file.path} has spaces where the edit has tabs, or tabs where it has spaces."
        raise WorkbenchError(why, "Send it again, indented as the file is.")
    lines = changed(lines, runs)
    last_newline = file.text.endswith("\n") or not file.text
    for hunk in hunks:
        ends = [each[-1].strip() for each in (lines, hunk.side("+")) if each]
        if len(hunk.open_ended) == 1 and len(set(ends)) == 1:
            last_newline = "-" in hunk.open_ended
    text = "".join(f"{line}\n" for line in lines)
    text = BOM * has_bom + (text if last_newline else text.removesuffix("\n"))
    data = text.encode(file.encoding, "replace")
    if data.decode(file.encoding) != text or "\0" in text or len(data) > MAX_BYTES:
        why = f"would be too large, or not {file.encoding} text."
        raise WorkbenchError(f"{file.path} {why}", "Use other characters, or less of them.")
    return text, told


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _changed(name: str, lines: list[str], parts: list[FileEdit]) -> tuple[list[Run], str]:
    """The changed runs of a file's lines, sorted, by all that is said of it."""
    hunks = [hunk for part in parts for hunk in part.hunks]
    wholes = [part for part in parts if part.whole is not None]
    bare = [line.removesuffix("\r") for line in lines]
    crlf = "\r" * (sum(map(str.__ne__, lines, bare)) * 2 > len(lines))
    try:
        found = [place(lines, hunks)] if hunks else []
        for part in wholes:
            new = _lines(part.whole)
            label = [part.label] * (bare[:1] == [part.label or None] != new[:1])
            runs, told = rewrite_lines(bare, label + new, part.is_sure)
            ended = [(i, j, tuple(line + crlf for line in body)) for i, j, body in runs]
            found.append((ended, told))
    except WorkbenchError as error:
        raise WorkbenchError(f"{name}: {error.message}", error.hint) from None
    runs = sorted({run for each, _ in found for run in each})
    for one, two in itertools.pairwise(runs):
        if two[0] < one[1] or two[0] == one[0]:
            raise WorkbenchError(f"{name}: two edits change line {two[0] + 1}.", ONE_DIFF)
    return runs, "; ".join(told for _, told in found)


def _merged(name: str, before: list[str], now: list[str], runs: list[Run]) -> list[Run]:
    """The runs, moved to where their lines are by now."""
    blocks = difflib.SequenceMatcher(None, before, now).get_matching_blocks()
    moved = []
    for start, end, new in runs:
        around = max(start - 1, 0), min(end + 1, len(before))
        block = next((b for b in blocks if b.a <= around[0] and around[1] <= b.a + b.size), None)
        if not block:
            was, wanted = "\n".join(before[start:end]), "\n".join(new)
            near = max((b for b in blocks if b.a <= start), key=lambda b: b.a, default=blocks[0])
            there = "\n".join(now[start + near.b - near.a : end + near.b - near.a])
            raise WorkbenchError(
                f"{name}, line {start + 1} has changed since the model read it.\n"
                f"It was:\n{was}\nThe edit makes it:\n{wanted}\nNow there is:\n{there}\n",
                "Ask again: the next answer starts from the file as it is now.",
            )
        moved.append((start + block.b - block.a, end + block.b - block.a, new))
    return moved
