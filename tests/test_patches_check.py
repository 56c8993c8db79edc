"""What a verdict says beside the placing: whether the source parses. # J1"""

from collections.abc import Callable
from pathlib import Path

import pytest

from patches import preview
from repo import Repo
from shapes import Verdict

Make = Callable[..., Path]


def replaced(root: Path, old: str, new: str, path: str = "a.py") -> Verdict:
    lines = "".join(f"+{line}\n" for line in new.split("\n"))
    return preview(Repo(root), f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-{old}\n{lines}")


def test_a_syntax_error_is_told_with_its_place_and_a_caret(git_repo: Make) -> None:
    """# J1"""
    verdict = replaced(git_repo({"a.py": "x = 1\ny = 2\n"}), "y = 2", "y = 2 +\t* 3")
    assert not verdict.ok and verdict.changes == () and verdict.diff == ""
    told = verdict.reason.split("\n")
    assert told[0] == 'a.py would not parse: File "a.py", line 2'
    assert told[1][told[2].index("^")] == "*"
    assert told[3].startswith("SyntaxError: invalid syntax")
    assert verdict.notes[0].check == "placed"


@pytest.mark.parametrize("text", ["(" * 5000, "[" * 100_000, "x = " + "-" * 60_000 + "1", "a\0b"])
def test_source_that_would_crash_a_parser_is_refused(git_repo: Make, text: str) -> None:
    assert not replaced(git_repo({"a.py": "x = 1\n"}), "x = 1", text).ok


def test_a_file_that_was_broken_before_is_only_noted(git_repo: Make) -> None:
    verdict = replaced(git_repo({"a.py": "def (\nx = 1\n"}), "x = 1", "x = 2")
    assert verdict.ok
    assert [(note.check, note.ok) for note in verdict.notes] == [
        ("placed", True),
        ("parses", False),
    ]
    assert verdict.notes[1].text == "a.py does not parse, as before"


def test_a_new_file_must_parse_too(git_repo: Make) -> None:
    root = git_repo({"a.py": "x = 1\n"})
    verdict = preview(Repo(root), "--- /dev/null\n+++ b/n.py\n@@ -0,0 +1 @@\n+x = (\n")
    assert 'File "n.py", line 1' in verdict.reason


def test_other_files_need_not_parse(git_repo: Make) -> None:
    assert replaced(git_repo({"a.md": "x\n"}), "x", "def (", "a.md").ok


def test_a_latin_1_source_is_parsed_as_its_own_bytes(git_repo: Make) -> None:
    root = git_repo({"a.py": b"# coding: latin-1\nx = '\xe9'\ny = 1\n"})
    verdict = replaced(root, "y = 1", "y = 'é'")
    assert verdict.ok and [note.ok for note in verdict.notes] == [True, True]


def test_a_rename_is_parsed_against_its_old_text(git_repo: Make) -> None:
    root = git_repo({"a.py": "def (\n"})
    assert preview(Repo(root), "diff --git a/a.py b/b.py\nrename from a.py\nrename to b.py\n").ok


def test_a_text_without_an_edit_says_what_to_send(git_repo: Make) -> None:
    verdict = preview(Repo(git_repo({"a.py": "x = 1\n"})), "I cannot do that.")
    assert not verdict.ok and "unified diff" in verdict.reason
