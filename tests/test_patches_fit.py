"""Where hunks are placed in the files as they are, and what is refused instead. # J1 J2 J10"""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from patches import preview
from repo import Repo
from tests.conftest import run_git

Make = Callable[..., Path]
SHARED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LINES = [
    "a",
    "b",
    "",
    " ",
    "\t",
    "-- x",
    "++ y",
    "\\ z",
    "@@ -1 +1 @@",
    "```",
    "a\r",
    "\r",
    "\f",
    "é ",
    "\x85",
]
TEXTS = st.tuples(
    st.lists(st.sampled_from([f"{line}\n" for line in LINES]), max_size=14),
    st.sampled_from(["", "a", "end", "\r", "\\ z", "\f"]),
).map(lambda parts: "".join(parts[0]) + parts[1])


def git_diff(before: bytes, after: bytes, folder: Path) -> str:
    for side, data in (("a", before), ("b", after)):
        (folder / side).mkdir(exist_ok=True)
        (folder / side / "f.txt").write_bytes(data)
    command = ["git", "diff", "--no-index", "--no-prefix", "a/f.txt", "b/f.txt"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).stdout.decode()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench")
    run_git(root, "init", "-q")
    (root / "f.txt").write_text("x\n")
    run_git(root, "add", ".")
    run_git(root, "commit", "-qm", "first")
    return root


@SHARED
@given(TEXTS, TEXTS)
@example("a\n", "a")
@example("a", "a\n")
@example("", "a")
@example("a\r\nb\r\n", "a\nb\n")
@example("a\nb\nc\n" * 5, "a\nb\nc\n" * 6)
@example("-- x\n\n\n", "++ y\n\n")
@example("-- x\n\n", "++ y\n\n")
def test_what_git_diffs_previews_to_exactly_the_second_text(
    bench: Path, before: str, after: str
) -> None:
    """# J2: and our own diff of it is taken by `git apply`, byte for byte."""
    if before == after:
        return
    (bench / "f.txt").write_bytes(before.encode())
    with tempfile.TemporaryDirectory() as scratch:
        diff = git_diff(before.encode(), after.encode(), Path(scratch))
        verdict = preview(Repo(bench), diff)
        assert verdict.ok, verdict.reason
        assert [change.after for change in verdict.changes] == [after]
        again = preview(Repo(bench), verdict.diff)
        assert [change.after for change in again.changes] == [after], again.reason
        applied = subprocess.run(
            ["git", "apply", "--whitespace=nowarn", "-"],
            cwd=bench,
            input=verdict.diff.encode(),
            capture_output=True,
            check=False,
        )
        assert applied.returncode == 0, applied.stderr
        assert (bench / "f.txt").read_bytes() == after.encode()


def snapshot(*folders: Path) -> str:
    seen = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            facts = path.lstat()
            seen.update(f"{path} {facts.st_mode} {facts.st_mtime_ns}".encode("utf-8", "replace"))
            seen.update(path.read_bytes() if path.is_file() else b"")
    return seen.hexdigest()


WILD = [
    "--- a/f.py\n+++ b/f.py\n",
    "@@ -1,3 +1,3 @@\n",
    " a = 1\n",
    "-b = 2\n",
    "+b = (\n",
    "+c = 3\n",
]
WILD += [
    "--- /dev/null\n",
    "+++ b/\ud800\n",
    "+++ b/../x\n",
    "+++ /etc/passwd\n",
    "+++ b/f.py/x\n",
    "\0",
]
WILD += [
    "diff --git a/f.py b/g.py\n",
    "rename from f.py\n",
    "rename to .git/x\n",
    "new mode 120000\n",
]
WILD += [
    "```\n",
    "+\ud800\n",
    "+++ b/CON.txt\n",
    "+++ b/f\u202epy\n",
    '+++ "b/\\000"\n',
    "@@\n",
    "+\0\n",
]


def test_no_text_raises_or_writes_anything(git_repo: Make, tmp_path: Path) -> None:
    """# J12: preview is free of any effect, in the repository and in the folder for scratch."""
    root = git_repo({"f.py": "a = 1\nb = 2\nc = 3\n", "d/e.txt": "x\n"})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = snapshot(root, scratch)

    @settings(max_examples=60, deadline=None)
    @given(st.one_of(st.text(), st.lists(st.sampled_from(WILD), max_size=12).map("".join)))
    @example("--- a/f.py\n+++ b/f.py\n@@\n a = 1\n-b = 2\n+b = 4\n")
    def check(text: str) -> None:
        preview(Repo(root), text)

    old, tempfile.tempdir = tempfile.tempdir, str(scratch)
    try:
        check()
    finally:
        tempfile.tempdir = old
    assert snapshot(root, scratch) == before


def hunk(text: str, path: str = "f.txt", at: str = "") -> str:
    """A diff of one hunk; `text` has one line for each ` x`, `-x` or `+x`."""
    head = f"@@ -{at} +{at} @@" if at else "@@"
    return f"--- a/{path}\n+++ b/{path}\n{head}\n{text}"


def after(root: Path, diff: str) -> str | None:
    verdict = preview(Repo(root), diff)
    assert verdict.ok, verdict.reason
    (change,) = verdict.changes
    return change.after


def refusal(root: Path, diff: str) -> str:
    verdict = preview(Repo(root), diff)
    assert not verdict.ok, verdict.diff
    assert verdict.changes == () and verdict.diff == ""
    return verdict.reason


ABC = "a\nb\nc\nd\ne\nf\n"


@pytest.mark.parametrize(
    ("before", "body", "expected"),
    [
        (ABC, " b\n-c\n+C\n d\n", "a\nb\nC\nd\ne\nf\n"),
        (ABC, " a \n-b\t\n+B\n", "a\nB\nc\nd\ne\nf\n"),  # white space at line ends
        ("a\n\nc\n", " a\n\n-c\n+C\n", "a\n\nC\n"),  # a blank line that lost its mark
        ("a\n  \nc\n", " a\n\n-c\n+C\n", "a\n  \nC\n"),  # context keeps the file's bytes
        ("a\r\nb\r\n", " a\n-b\n+B\n+C\n", "a\r\nB\r\nC\r\n"),  # the file's line ends
        ("a\nb\n", " a\r\n-b\r\n+B\r\n", "a\nB\n"),
        ("a\r\nb\nc\n", " b\n-c \n+C\n", "a\r\nb\nC\n"),  # a mixed file: the neighbour's
        ("a\nb", "-b\n+B\n", "a\nB"),  # the last newline is the file's
        ("a\nb", " b\n+c\n", "a\nb\nc"),
        ("a\nb\n", "-b\n+B\n\\ No newline at end of file\n", "a\nB"),
        ("a\nb", "-b\n\\ No newline at end of file\n+b\n", "a\nb\n"),
        ("a\nb\n", "-b\n\\ No newline\n+B\n\\ No newline\n", "a\nB\n"),
        ("b\na\nb", "-b\n\\ No newline\n+B\n\\ No newline\n", "b\na\nB"),  # so it is the last one
        ("", "+a\n", "a\n"),
        ("a\n", "-a\n", ""),
        ("a\x0cb\x85c\nd\n", " a\x0cb\x85c\n-d\n+D\n", "a\x0cb\x85c\nD\n"),
        ("\ufeffa\nb\n", "-b\n+B\n", "\ufeffa\nB\n"),
        ("\ufeffa\nb\n", "-\ufeffa\n+A\n", "A\nb\n"),
        ("-- a\n++ b\n", "--- a\n+-- A\n ++ b\n", "-- A\n++ b\n"),
    ],
)
def test_a_hunk_lands_where_its_text_is(
    git_repo: Make, before: str, body: str, expected: str
) -> None:
    assert after(git_repo({"f.txt": before}), hunk(body)) == expected


@pytest.mark.parametrize("at", ["", "1,3", "99,1", "3", "0,0"])
def test_line_numbers_and_counts_may_be_wrong(git_repo: Make, at: str) -> None:
    diff = hunk(" b\n-c\n+C\n d\n", at=at)
    assert after(git_repo({"f.txt": ABC}), diff) == "a\nb\nC\nd\ne\nf\n"


def test_a_note_says_how_a_hunk_was_placed(git_repo: Make) -> None:
    root = git_repo({"f.txt": ABC})
    notes = preview(Repo(root), hunk(" b \n-c\n+C\n", at="9,2")).notes
    assert (
        notes[0].text
        == "f.txt: line 2, 7 lines higher than it said, white space at line ends differs"
    )


def test_several_hunks_are_placed_against_the_file_as_it_is(git_repo: Make) -> None:
    root = git_repo({"f.txt": ABC})
    first, second = "@@\n a\n+1\n b\n", "@@\n e\n-f\n+F\n"
    head = "--- a/f.txt\n+++ b/f.txt\n"
    expected = "a\n1\nb\nc\nd\ne\nF\n"
    for diff in (first + second, second + first):
        assert after(root, head + diff) == expected
    assert after(root, head + first + head + second) == expected
    assert after(root, f"```\n{head}{first}```\nand\n```\n{head}{second}```\n") == expected


@pytest.mark.parametrize(
    ("before", "body", "words"),
    [
        ("x\ny\nx\ny\n", "-x\n+z\n", "equally well at lines 1, 3"),
        ("x\ny\nx \ny\n", "-x\t\n+z\n", "equally well at lines 1, 3"),
        ("alpha\nbeta\n", "-betta\n+z\n", "no line is 'betta'. The nearest is 'beta'"),
        (ABC, "-q\n+z\n", "is not in the file: no line is 'q'"),
        (ABC, " a\n b\n-x\n+C\n", "it has 'x' where line 3 is 'c'"),
        (ABC, " a\n-B\n+b\n c\n", "already applied"),
        (ABC, "+a\n b\n", "already applied"),  # they would fit once more
        (ABC, " e\n+f\n", "already applied"),
        ("a\r\nb\r\n", " a\n+b\n", "already applied"),
        (ABC, "-a\n+a\n", "changes nothing"),
        ("", "", "changes nothing"),
        (ABC, " a\n b\n", "changes nothing"),
        (ABC, "+z\n", "does not say where it goes"),
        (ABC, "-b\n+B\n@@\n a\n-b\n+2\n", "two edits change line 2"),
        (ABC, " b\n+1\n@@\n b\n+2\n c\n", "two edits change line 3"),
        (ABC, "-b\n-c\n-d\n+x\n@@\n c\n+new\n d\n", "two edits change line 4"),
        ("a\n", "-a\n+\0\n", "not utf-8 text"),
        ("a\n", "-a\n+\ud800\n", "not utf-8 text"),
        (b"\xe9\n", "-\xe9\n+\u20ac\n", "not latin-1 text"),
        ("", "-x\n+y\n", "no line is 'x'"),
    ],
)
def test_what_has_not_one_place_is_refused(
    git_repo: Make, before: str | bytes, body: str, words: str
) -> None:
    root = git_repo({"f.txt": before, "other.txt": "o\n"})
    other = hunk("-o\n+O\n", "other.txt")
    assert words in refusal(root, hunk(body)), "alone"
    assert words in refusal(root, other + hunk(body)), "every hunk of every file, or none"


def test_the_line_number_decides_between_equal_places_only(git_repo: Make) -> None:
    root = git_repo({"f.txt": "x\ny\nx\ny\n"})
    assert after(root, hunk("-x\n+z\n", at="3")) == "x\ny\nz\ny\n"
    assert "lines 1, 3" in refusal(root, hunk("-x\n+z\n", at="2"))


def test_a_latin_1_file_stays_one(git_repo: Make) -> None:
    verdict = preview(Repo(git_repo({"f.txt": b"caf\xe9\nb\n"})), hunk(" caf\xe9\n-b\n+\xfc\n"))
    assert (verdict.changes[0].after, verdict.changes[0].encoding) == ("café\nü\n", "latin-1")


FILES = {
    "f.txt": "a\n",
    "dir/my file.txt": "a\n",
    "empty.txt": "",
    "a/f.txt": "a\n",
    'é".txt': "a\n",
}


@pytest.mark.parametrize(
    ("diff", "expected"),
    [
        ("--- /dev/null\n+++ b/new/x.txt\n@@ -0,0 +1 @@\n+n\n", ("create", "new/x.txt", "n\n")),
        ("--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+n\n\\ No newline\n", ("create", "x", "n")),
        ("--- /dev/null\r\n+++ b/x\r\n@@ -0,0 +1 @@\r\n+n\r\n", ("create", "x", "n\n")),
        ("diff --git a/e b/e\nnew file mode 100755\n", ("create", "e", "")),
        (hunk("-a\n").replace("+++ b/f.txt", "+++ /dev/null"), ("delete", "f.txt", None)),
        ("diff --git a/f.txt b/f.txt\ndeleted file mode 100644\n", ("delete", "f.txt", None)),
        ("diff --git a/f.txt b/g\nrename from f.txt\nrename to g\n", ("rename", "g", "a\n")),
        ("--- a/f.txt\n+++ b/g\n@@ -1 +1 @@\n-a\n+b\n", ("rename", "g", "b\n")),
        ("--- f.txt\n+++ f.txt\n@@\n-a\n+b\n", ("modify", "f.txt", "b\n")),
        ("--- ./f.txt\n+++ ./f.txt\n@@\n-a\n+b\n", ("modify", "f.txt", "b\n")),
        ("--- a/f.txt\n+++ b/f.txt\n@@\n-a\n+b\n", ("modify", "f.txt", "b\n")),
        ("--- a/f.txt\n+++ a/f.txt\n@@\n-a\n+b\n", ("modify", "a/f.txt", "b\n")),
        ("--- a/a/f.txt\n+++ b/a/f.txt\n@@\n-a\n+b\n", ("modify", "a/f.txt", "b\n")),
        ("diff --git a/f.txt b/f.txt\nnew mode 100755\n", ("modify", "f.txt", "a\n")),
        (hunk("-a\n+b\n", "dir/my file.txt"), ("modify", "dir/my file.txt", "b\n")),
        ('--- "a/\\303\\251\\".txt"\n+++ "b/é\\".txt"\n@@\n-a\n+b\n', ("modify", 'é".txt', "b\n")),
        (hunk("+b\n", "empty.txt", "0,0"), ("modify", "empty.txt", "b\n")),
    ],
)
def test_files_are_made_changed_moved_and_removed(
    git_repo: Make, diff: str, expected: tuple[str, str, str | None]
) -> None:
    """# J2: and `git apply` makes the same of our own diff."""
    root = git_repo(FILES)
    verdict = preview(Repo(root), diff)
    assert verdict.ok, verdict.reason
    (change,) = verdict.changes
    assert (change.action, change.path, change.after) == expected
    done = subprocess.run(
        ["git", "apply", "-"], cwd=root, input=verdict.diff.encode(), capture_output=True
    )
    assert done.returncode == 0, (verdict.diff, done.stderr)
    place = root / change.path
    assert (place.read_text() if place.exists() else None) == change.after
    assert change.after is None or os.access(place, os.X_OK) == (change.mode == "100755")
    assert change.old_path is None or not (root / change.old_path).exists()


def new(path: str, line: str = "x") -> str:
    return f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+{line}\n"


@pytest.mark.parametrize(
    ("diff", "words"),
    [
        (new("../x"), "not a name"),
        (new("x").replace("b/x", "/etc/x"), "not a path inside"),
        (new("x/../../y"), "not a name"),
        (new(".git/hooks/x"), "not a path inside"),
        (new("d/.GIT/x"), "not a path inside"),
        (new("git~1/x"), "not a path inside"),
        (new(".git./x"), "not a"),
        (new("d\\x"), "not a path inside"),
        (new("out/x"), "a link"),
        (hunk("-a\n+b\n", "link.txt"), "a link"),
        (new('x" y\x07'), "not a name"),
        (new("CON.txt"), "not a name"),
        (new("x "), "exists already"),
        (new("x."), "not a name"),
        (new("\u202ex"), "not a name"),
        (new("n" * 300), "not a name"),
        (new("d/" * 300 + "x"), "longer than 500"),
        ('--- /dev/null\n+++ "b/x\\000y"\n@@\n+x\n', "not a name"),
        (new("ignored.log"), "ignored by git"),
        (new(".env"), "secrets"),
        (hunk("-a\n+b\n", "server.key"), "secrets"),
        (new("f.txt"), "f.txt exists already"),
        (new("F.TXT"), "f.txt exists already"),
        (new("untracked.txt"), "exists already"),
        (new("d"), "exists already"),
        (new("f.txt/x"), "in a file"),
        (new("other/new"), "another repository"),
        (new("n") + new("n", "y"), "two edits"),
        (new("n") + new("N"), "twice"),
        (new("n") + new("n/x"), "twice"),
        (new("n").replace("+x", " x\n+y"), "'x'"),
        (hunk("-a\n+b\n") + hunk("-a\n").replace("+++ b/f.txt", "+++ /dev/null"), "twice"),
        ("diff --git a/f.txt b/f.txt\nnew mode 120000\n", "120000"),
        ("diff --git a/n b/n\nnew file mode 120000\n--- /dev/null\n+++ b/n\n@@\n+/etc\n", "120000"),
        ("diff --git a/n b/n\nnew file mode 160000\n--- /dev/null\n+++ b/n\n@@\n+Sub\n", "160000"),
        ("diff --git a/f.txt b/d/y\nrename from f.txt\nrename to d/y\n", "exists already"),
        ("--- /dev/null\n+++ /dev/null\n@@\n+x\n", "names no file"),
        ("@@ -1 +1 @@\n-a\n+b\n", "names no file"),
        (hunk("-a\n+b\n", "gone.txt"), "gone.txt is not a plain tracked file"),
        (hunk("-a\n+b\n", "untracked.txt"), "not a plain tracked file"),
        (hunk("-a\n+b\n", "deleted.txt"), "missing"),
        (hunk("-a\n+b\n", "binary.dat"), "binary"),
        (hunk("-a\n", "two.txt").replace("+++ b/two.txt", "+++ /dev/null"), "does not delete"),
        ("".join(new(f"n{i}") for i in range(501)), "too large"),
        (new("n", "y" * 4_000_000), "too large"),
    ],
)
def test_a_hostile_or_impossible_edit_is_refused(git_repo: Make, diff: str, words: str) -> None:
    """# J12: no name leads out of the repository, into git's folder, or onto what is there."""
    files = {"f.txt": "a\n", "two.txt": "a\nb\n", "d/y": "y\n", "deleted.txt": "a\n", "x": "x\n"}
    files |= {"binary.dat": b"a\n\0", "server.key": "a\n", ".gitignore": "*.log\n"}
    root = git_repo(files)
    git_repo({"x": "x\n"}, "sample/other")
    (root / "untracked.txt").write_text("a\n")
    (root / "deleted.txt").unlink()
    (root / "out").symlink_to("/tmp")
    (root / "link.txt").symlink_to("f.txt")
    run_git(root, "add", "out", "link.txt")
    before = snapshot(root)
    assert words in refusal(root, diff)
    assert snapshot(root) == before


def test_nothing_is_made_inside_a_submodule(git_repo: Make) -> None:
    """# J12"""
    root = git_repo({"f.txt": "a\n"})
    inside = git_repo({"x": "x\n"}, "sample/sub")
    run_git(root, "add", "sub")
    run_git(root, "commit", "-qm", "submodule")
    for name in [".git", "x"]:
        (inside / name).rename(root.parent / f"away{name}")
    assert "ignored by git" in refusal(root, new("sub/y"))
