"""What the files of a repository become by an edit, in memory.

Knows nothing of checks or commits. Invariants: all of an edit fits, or the whole of it is refused;
bytes that it does not change stay; no path leaves the repository.
"""

import difflib
import re
from pathlib import PurePosixPath

from patches.place import place
from patches.read import FileEdit, Hunk, smallest
from patches.whole import rewrite
from repo import Repo
from shapes import Change, Note, SourceFile, WorkbenchError, frozen

MAX_PARTS, MAX_BYTES, MAX_NAME = 1000, 4_000_000, 500
MODES = ("100644", "100755")
ODD_NAME = re.compile(
    r"(^|/)((con|prn|aux|nul|com\d|lpt\d)(\.|/|$)| |[^/]{100})|[ .](/|$)|.{500}", re.I
)
ONE_DIFF = "Send one diff for each file."
PATH = re.compile(
    r"(?<![\w./])(?:[\w.@+-]+/)*(?:[\w.@+-]*\w\.[a-z]\w{0,8}|\.[a-z]\w*|[A-Z]\w+file)(?![\w/]|:\d|\.\w)"
)
FILLERS = {"file", "filename", "path", "new", "updated", "full"}
SHELL = re.compile(r"(ba|z|fi|power)?sh\b|shell|console|text\b|output", re.I)
HEADING = re.compile(  # says that a file is to be so
    r".*(updat|chang|replac|rewrit|new|creat|add|fix|modif|full|complet|revis|whole|edit|improv"
    r"|refactor|becom|should|with\b).*:\W*$",
    re.I,
)
MARGIN = re.compile(r"\t|  ")
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
    """Whether a block only quotes a file, or is none."""
    if edit.whole is None:
        return False
    path, is_sure = _named(edit, modes)
    if not path or (SHELL.match(edit.said[0]) and not is_sure):
        return True
    file = repo.text(path) if path in modes and not edit.trouble else None
    quoted, lines = (
        "\n".join(["", *filter(None, map(str.strip, text.split("\n"))), ""])
        for text in (edit.whole, file.text if file else "")
    )
    return quoted in lines


def _named(edit: FileEdit, modes: dict[str, str]) -> tuple[str, bool]:
    """The path that is said of an edit without a header, or "", and whether that is all that is
    said. A file that is new must be named beyond doubt."""
    for number, text in enumerate(said[:MAX_NAME] for said in edit.said):
        found = {*PATH.findall(text)}
        for path in filter(text.__contains__, modes):
            if re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w/-]|\.\w|:\d)", text):
                found.add(path)
        found -= {one for one in found for two in found if one != two and one in two}
        path = found.pop() if len(found) == 1 else ""
        rest = re.sub(r"\([^)]*\)", " ", text.replace(path, " ")).lower()
        words = {*re.findall(r"\w+", rest)} - FILLERS
        is_fence = edit.whole is not None and not number
        is_all = not words or (is_fence and len(words) == 1)  # which is the language
        is_told = edit.whole is None or HEADING.match(text)
        is_known = path in modes or is_all or f"`{path}`" in text
        if path and is_known and (is_all or is_told):
            return path, is_all
    return "", False


def _paths(edit: FileEdit, modes: dict[str, str]) -> tuple[str | None, str | None]:
    """The paths before and after: without git's `a/` and `b/`, else as written."""
    written = [edit.old, edit.new] if edit.old or edit.new else [_named(edit, modes)[0] or None] * 2
    name = written[1] or written[0]
    if edit.trouble or not name or len(name) > MAX_NAME:
        why = edit.trouble or f"is longer than {MAX_NAME}" * bool(name) or "names no file"
        raise WorkbenchError(f"{(name or 'The edit')[:60]} {why}.", "Send the whole edit again.")
    written = [path and str(PurePosixPath(path)) for path in written]
    short = [path and re.sub("^[abciow]/", "", path) for path in written]
    both = (written, short) if written[0] == written[1] else (short, written)
    old, new = next((pair for pair in both if pair[0] in modes or pair[1] in modes), both[0])
    if old and new and old not in modes:
        marks = {mark for hunk in edit.hunks for mark, _ in hunk.lines}
        if new in modes:
            return new, new  # the old name was made up
        if marks <= {"+"} and not any(path.endswith(f"/{new}") for path in modes):
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
    bom = BOM * file.text.startswith(BOM)
    bom *= not any(line.startswith(BOM) for hunk in hunks for _, line in hunk.lines)
    lines = _lines(file.text.removeprefix(bom))
    try:
        made, told = _made(file.path, lines, parts)
    except WorkbenchError as error:
        shown = repo.try_git("cat-file", "blob", f"{base}:{file.path}") if base else (1, b"", "")
        before = _lines(shown[1].decode(file.encoding, "replace").removeprefix(bom))
        if shown[0] or before == lines:
            raise
        try:
            edited, told = _made(file.path, before, parts)
        except WorkbenchError:
            raise error from None
        made, told = (
            _merged(file.path, before, edited, lines),
            f"{told}, merged with what came since",
        )
    was, now = ({found[0] for found in map(MARGIN.match, each) if found} for each in (lines, made))
    if len(was) == 1 and not now <= was:
        why = f"{file.path} has spaces where the edit has tabs, or tabs where it has spaces."
        raise WorkbenchError(why, "Send it again, indented as the file is.")
    last_newline = file.text.endswith("\n") or not file.text
    for hunk in hunks:
        ends = [each[-1].strip() for each in (made, hunk.side("+")) if each]
        if len(hunk.open_ended) == 1 and len(set(ends)) == 1:
            last_newline = "-" in hunk.open_ended
    text = bom + "\n".join(made) + "\n" * (last_newline and bool(made))
    data = text.encode(file.encoding, "replace")
    if data.decode(file.encoding) != text or "\0" in text or len(data) > MAX_BYTES:
        why = f"would be too large, or not {file.encoding} text."
        raise WorkbenchError(f"{file.path} {why}", "Use other characters, or less of them.")
    return text, told


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _made(name: str, lines: list[str], parts: list[FileEdit]) -> tuple[list[str], str]:
    """A file's lines after all that is said of it, and where that went."""
    bare = [line.removesuffix("\r") for line in lines]
    hunks = [hunk for part in parts for hunk in part.hunks]
    try:
        for part in parts:
            if part.whole is not None:
                new = _lines(part.whole)
                label = rf"\W+(file\W+)?{re.escape(name)}\W*"  # which only names the file
                if re.fullmatch(label, new[0], re.I) and (
                    new[0] not in bare[:1] or new[0] in new[1:2]
                ):
                    del new[0]
                hunks += rewrite(bare, new)
        return place(lines, hunks)
    except WorkbenchError as error:
        raise WorkbenchError(f"{name}: {error.message}", error.hint) from None


def _merged(name: str, before: list[str], edited: list[str], now: list[str]) -> list[str]:
    """What an edit of the lines before makes of the lines as they are now."""
    hunks = []
    for group in difflib.SequenceMatcher(None, before, edited).get_grouped_opcodes(1):
        (_, start, _, begin, _), (_, _, stop, _, end) = group[0], group[-1]
        hunks.append(Hunk(lines=smallest(before[start:stop], edited[begin:end])))
    try:
        return place(now, hunks)[0]
    except WorkbenchError as error:
        why = f"{name} has changed since the model read it: {error.message}"
        hint = "Ask again: the next answer starts from the file as it is now."
        raise WorkbenchError(why, hint) from None
