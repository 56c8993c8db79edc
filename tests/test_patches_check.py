"""What a verdict says beside the placing: faults, names, tests, rules, ruff. # J1, J9, H4"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from patches import preview
from patches.check import judge
from patches.fit import Fitted
from patches.study import study
from repo import Repo
from shapes import Change, Note, Verdict, WorkbenchError
from tests.conftest import run_git

Make = Callable[..., Path]


def replaced(root: Path, old: str, new: str, path: str = "a.py") -> Verdict:
    lines = "".join(f"+{line}\n" for line in new.split("\n"))
    return preview(Repo(root), f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-{old}\n{lines}")


def fitted(
    root: Path, texts: dict[str, str | None], moved: dict[str, str] | None = None
) -> list[Fitted]:
    """Files given these texts (None deletes; `moved` is new path: old path)."""
    repo, found = Repo(root), []
    for path, text in texts.items():
        old = (moved or {}).get(path)
        file = repo.text(old or path)
        action = "rename" if old else "delete" if text is None else "modify" if file else "create"
        change = Change(path, action, text, file.sha if file else None, old_path=old)
        found.append(Fitted(change, file.text if file else "", Note("placed", True, "")))
    return found


def judged(
    root: Path, texts: dict[str, str | None], moved: dict[str, str] | None = None
) -> list[Note]:
    """What `study` says; sound source needs no child process."""
    files = [(asdict(it.change), it.before) for it in fitted(root, texts, moved)]
    return [Note(*finding) for finding in study({"root": str(root), "files": files})[0]]


def in_full(
    root: Path, texts: dict[str, str | None], moved: dict[str, str] | None = None
) -> list[Note]:
    return judge(Repo(root), fitted(root, texts, moved))


def told(notes: list[Note], check: str) -> list[str]:
    return [note.text for note in notes if note.check == check and not note.ok]


def only(notes: list[Note], check: str) -> str:
    """The one finding there is, which is of this check."""
    found = [note for note in notes if not note.ok]
    assert [note.check for note in found] == [check], found
    return found[0].text


def test_a_syntax_error_is_told_with_its_place_and_a_caret(git_repo: Make) -> None:
    """# J1"""
    verdict = replaced(git_repo({"a.py": "x = 1\ny = 2\n"}), "y = 2", "y = 2 +\t* 3")
    assert not verdict.ok and verdict.changes == () and verdict.diff == ""
    where, line, caret, why = verdict.reason.split("\n")
    assert where == 'a.py would not parse: File "the edit", line 2'
    assert line[caret.index("^")] == "*" and why.startswith("SyntaxError: invalid syntax")
    assert verdict.notes[0].check == "placed"


@pytest.mark.parametrize("text", ["(" * 5000, "[" * 100_000, "x = " + "-" * 60_000 + "1", "a\0b"])
def test_source_that_would_crash_a_parser_is_refused(git_repo: Make, text: str) -> None:
    assert not replaced(git_repo({"a.py": "x = 1\n"}), "x = 1", text).ok


def test_a_file_that_was_broken_before_is_only_noted(git_repo: Make) -> None:
    verdict = replaced(git_repo({"a.py": "def (\nx = 1\n"}), "x = 1", "x = 2")
    assert verdict.ok
    assert only(list(verdict.notes), "parses") == "a.py does not parse"


def test_a_new_file_must_parse_too(git_repo: Make) -> None:
    root = git_repo({"a.py": "x = 1\n"})
    with pytest.raises(WorkbenchError, match=r"(?s)n\.py would not parse.*line 1"):
        judged(root, {"n.py": "x = (\n"})


def test_text_of_no_language_need_not_parse(git_repo: Make) -> None:
    assert replaced(git_repo({"a.txt": "x\n"}), "x", "def (", "a.txt").ok


def test_a_latin_1_source_is_parsed_as_its_own_bytes(git_repo: Make) -> None:
    root = git_repo({"a.py": b"# coding: latin-1\nx = '\xe9'\ny = 1\n"})
    verdict = replaced(root, "y = 1", "y = 'é'")
    assert verdict.ok and all(note.ok for note in verdict.notes)


def test_a_rename_is_parsed_against_its_old_text(git_repo: Make) -> None:
    root = git_repo({"a.py": "def (\n"})
    assert preview(Repo(root), "diff --git a/a.py b/b.py\nrename from a.py\nrename to b.py\n").ok


def test_a_text_without_an_edit_says_what_to_send(git_repo: Make) -> None:
    verdict = preview(Repo(git_repo({"a.py": "x = 1\n"})), "I cannot do that.")
    assert not verdict.ok and "unified diff" in verdict.reason


@pytest.mark.parametrize(
    ("path", "good", "bad", "row", "at"),
    [
        ("a.json", '{"a": [1]}\n', '{"a": [1}\n', 1, "}"),
        ("a.toml", "[a]\nb = 1\n", "[a]\nb = ]\n", 2, "]"),
        ("a.yml", "a: [1, 2]\n", "a: [1\nb: }\n", 2, ":"),
    ],
)
def test_a_data_file_must_parse(
    git_repo: Make, path: str, good: str, bad: str, row: int, at: str
) -> None:
    root = git_repo({path: good})
    with pytest.raises(WorkbenchError) as caught:
        judged(root, {path: bad})
    where, line, caret = caught.value.message.split("\n")[:3]
    assert where == f'{path} would not parse: File "the edit", line {row}'
    assert line[caret.index("^")] == at
    assert all(note.ok for note in judged(root, {path: good.replace("1", "3")}))


def test_a_fence_that_is_never_closed_is_noted(git_repo: Make) -> None:
    root = git_repo({"a.md": "# A\n"})
    assert all(note.ok for note in judged(root, {"a.md": "# A\n\n```diff\n-a\n```\n"}))
    assert only(judged(root, {"a.md": "~~~\nx\n"}), "parses") == "a.md: a fence is never closed"


def test_a_new_undefined_name_is_pointed_at(git_repo: Make) -> None:
    root = git_repo({"a.py": "x = 1\nprint(nobody)\n"})
    notes = in_full(root, {"a.py": "x = some_body\nprint(nobody)\n"})
    assert "a.py:1 [F821] Undefined name `some_body`" in only(notes, "names")


CORE = """import os
LIMIT = 3


def work(n):
    return n


class Box:
    size: int = 0

    def opened(self):
        return self.size
"""
OTHER = """import pkg.core
from pkg import core as c


def go(box):
    return pkg.core.LIMIT, c.work(1), box.opened()
"""
PACKAGE = {"pkg/__init__.py": "from .core import work as work\n", "pkg/core.py": CORE}
PACKAGE |= {"pkg/other.py": OTHER, "local.py": "from json import work\n\n\nprint(work)\n"}


def test_a_removed_name_that_is_still_used_is_pointed_at(git_repo: Make) -> None:
    root = git_repo(PACKAGE)
    for old, new, name, places in [
        ("def work", "def labour", "work", ["pkg/__init__.py:1", "pkg/other.py:6"]),
        ("LIMIT = 3", "", "LIMIT", ["pkg/other.py:6"]),
        ("opened", "closed", "Box.opened", ["pkg/other.py:6"]),
    ]:
        notes = in_full(root, {"pkg/core.py": CORE.replace(old, new)})
        uses = [f"{place} uses {name}, which is removed" for place in places]
        assert [note.text for note in notes if not note.ok] == uses == told(notes, "names")
    found = told(in_full(root, {"pkg/core.py": None}), "names")
    assert "pkg/other.py:6 uses work, which is removed" in found


def test_a_use_in_the_edited_file_itself_is_pointed_at(git_repo: Make) -> None:
    uses = "    def peep(self):\n        return self.opened()\n"
    root = git_repo({"a.py": f"class Box:\n{uses}\n    def opened(self): ...\n"})
    notes = in_full(root, {"a.py": f"class Box:\n{uses}"})
    assert only(notes, "names") == "a.py:3 uses Box.opened, which is removed"


def test_a_method_with_a_common_name_is_not_guessed_at(git_repo: Make) -> None:
    use = "def go(it):\n    return it.get(1), it.opened()\n"
    box = "class Box:\n    def get(self, n): ...\n\n    def opened(self): ...\n"
    root = git_repo({"a.py": box, "b.py": box.replace("Box", "Bag"), "c.py": use})
    assert told(in_full(root, {"a.py": "class Box: ...\n"}), "names") == []
    root = git_repo({"a.py": box, "c.py": use}, "other")
    found = told(in_full(root, {"a.py": "class Box: ...\n"}), "names")
    assert found == ["c.py:2 uses Box.opened, which is removed"]


def test_a_name_that_moves_with_its_users_is_fine(git_repo: Make) -> None:
    root = git_repo(PACKAGE)
    core = PACKAGE["pkg/core.py"].replace("def work", "def labour").replace("opened", "shut")
    other = PACKAGE["pkg/other.py"].replace("c.work", "c.labour").replace("opened", "shut")
    init = "from .core import labour as work\n\n__all__ = ['work']\n"
    notes = in_full(root, {"pkg/core.py": core, "pkg/other.py": other, "pkg/__init__.py": init})
    assert [note for note in notes if not note.ok] == []


def test_a_new_import_must_be_found(git_repo: Make) -> None:
    root = git_repo(PACKAGE | {"old.py": "import missing\n\nx = 1\n"})
    new = "import json, httpx, pkg.core, local\nfrom . import what\nimport no_such_thing.deep\n"
    found = told(judged(root, {"n.py": new}), "imports")
    assert found == ["n.py:3: no_such_thing is not found in this environment"]
    assert told(judged(root, {"old.py": "import missing\n\nx = 2\n"}), "imports") == []


def test_only_what_is_new_to_ruff_is_told_by_the_repositorys_own_rules(git_repo: Make) -> None:
    root = git_repo({"a.py": "import os\nx = 1\n", "ruff.toml": "lint.select = ['F401', 'E711']\n"})
    notes = in_full(root, {"a.py": "x = 1\n\nimport os\nimport re\ny = x == None; z = 2\n"})
    assert [text[:13] for text in told(notes, "ruff")] == ["a.py:4 [F401]", "a.py:5 [E711]"]
    assert in_full(root, {"a.py": "import os\nx = 2\n"})[-1] == Note(
        "ruff", True, "a.py: nothing new"
    )


def test_a_ruff_that_cannot_run_is_said(git_repo: Make) -> None:
    root = git_repo({"a.py": "x = 1\n", "ruff.toml": "select = [\n"})
    assert "ruff.toml" in only(in_full(root, {"a.py": "x = 2\n"}), "ruff")


def test_a_repository_cannot_put_its_own_ruff_in_place(
    git_repo: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = git_repo({"a.py": "x = 1\n", "ruff.py": "open('ran', 'w')\n"})
    monkeypatch.chdir(root)
    in_full(root, {"a.py": "x = 2\n"})
    assert not list(root.glob("ran")) and run_git(root, "status", "--porcelain") == ""


RULES = """# Rules
- never import `fastapi`, `django.db`: this is FastHTML
- asks twice `core/`, `go.py`: they bring you back
- keep `Store.get`: it is not broken
"""


def test_the_house_rules_of_a_rules_file_are_held(git_repo: Make) -> None:
    """# H4, J9"""
    files = {"a.py": "class Store:\n    def get(self): ...\n", "go.py": "", "core/x.py": ""}
    root = git_repo(files | {".workbench/rules.md": RULES, "corex.py": ""})
    notes = judged(
        root, {"a.py": "import fastapi.x\nfrom django import db, forms\n\n\nclass Store: ...\n"}
    )
    assert told(notes, "house rules") == [
        "a.py:1: never import fastapi, this is FastHTML",
        "a.py:2: never import django.db, this is FastHTML",
        "a.py:2: keep Store.get, it is not broken",
    ]
    notes = judged(root, {"core/x.py": "x = 1\n", "go.py": "x = 1\n", "corex.py": "x = 1\n"})
    assert [text.split(":")[0] for text in told(notes, "asks twice")] == ["core/x.py", "go.py"]


def test_our_own_rules_file_names_what_the_design_forbids() -> None:
    """# H4"""
    notes = judged(Path(__file__).parent.parent, {"web/n.py": "import fastapi, jinja2, peewee\n"})
    assert len(told(notes, "house rules")) == 3
    notes = judged(Path(__file__).parent.parent, {"supervisor/n.py": "x = 1\n"})
    assert len(told(notes, "asks twice")) == 1


def test_without_a_rules_file_there_are_no_rules(git_repo: Make) -> None:
    notes = judged(
        git_repo({"a.py": "x = 1\n"}), {"supervisor/n.py": "import jinja2\nprint(jinja2)\n"}
    )
    assert not told(notes, "house rules") + told(notes, "asks twice")


TESTS = """import pytest


def test_one():
    assert f() == 3
    assert g()


@pytest.mark.parametrize("x", [1, 2])
def test_two(x):
    with pytest.raises(KeyError):
        h(x)
    assert h(1) == pytest.approx(
        2, rel=1e-6
    )
    assert i()
    i()
    assert i()
"""


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("f() == 3", "f()", "5 test_one: `assert f() == 3` is now `assert f()`"),
        ("    assert g()\n", "", "6 test_one: `assert g()` is now gone"),
        ("KeyError", "Exception", "`with pytest.raises(KeyError):` is now `with pytest.raises(Ex"),
        ("def test_one", "@pytest.mark.skip\ndef test_one", "4 test_one is skipped"),
        ("def test_two", "def _two", "10 test_two is gone"),
        ("2, rel=1e-6", "2, rel=1", "rel=1e-6 )` is now `assert h(1) == pytest.approx( 2, rel=1 )"),
        ("    assert i()\n    i()\n", "    i()\n", "test_two: `assert i()` is now gone"),
    ],
)
def test_a_changed_test_is_pointed_at(git_repo: Make, old: str, new: str, finding: str) -> None:
    root = git_repo({"t/test_a.py": TESTS, "t/plain.py": TESTS})
    edit = TESTS.replace(old, new, 1)
    text = only(judged(root, {"t/test_a.py": edit}), "tests changed")
    assert text.startswith("t/test_a.py:") and finding in text
    assert not told(judged(root, {"t/plain.py": edit}), "tests changed")


def test_new_asserts_and_tests_are_no_finding(git_repo: Make) -> None:
    root = git_repo({"test_a.py": TESTS, "test_b.py": ""})
    one, two = TESTS.split("\n\n\n@")
    new = {"test_a.py": f"{one}\n    assert 1\n", "test_b.py": f"import pytest\n\n\n@{two}"}
    assert [note for note in judged(root, new) if not note.ok] == []


def test_a_deleted_test_file_is_pointed_at(git_repo: Make) -> None:
    notes = judged(git_repo({"tests/test_a.py": TESTS}), {"tests/test_a.py": None})
    assert [text.split(" ")[1] for text in told(notes, "tests changed")] == ["test_one", "test_two"]


def test_the_changed_symbols_and_the_size_are_told_in_words(git_repo: Make) -> None:
    root = git_repo(PACKAGE)
    new = PACKAGE["pkg/core.py"].replace("return self.size", "return 1").replace("LIMIT = 3\n", "")
    new += "\n\ndef extra():\n    return 2\n\n\nclass Lid:\n    size = 1\n"
    notes = judged(root, {"pkg/core.py": new})
    words = [note.text for note in notes if note.check == "symbols"]
    assert words == ["adds Lid, extra", "changes Box.opened", "removes LIMIT"]
    assert Note("size", True, "tokens, estimated as characters / 4: +9 in pkg") in notes


def test_a_sound_change_has_no_finding(git_repo: Make) -> None:
    root = git_repo(
        PACKAGE | {"context/rules.md": RULES, "tests/test_a.py": "def test_a():\n    assert 1\n"}
    )
    new = {path: f"{text}\n\ndef more():\n    return 1\n" for path, text in PACKAGE.items()}
    assert [note for note in in_full(root, new) if not note.ok] == []
