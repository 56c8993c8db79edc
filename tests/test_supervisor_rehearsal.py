"""A patch of the program is rehearsed in a clone before the tree is touched. # J7, J10, K4"""

import asyncio
import os
from pathlib import Path

import pytest

from patches import Branch, preview, run_trial, trial
from repo import Repo
from shapes import Note
from state import State, home
from tests.conftest import run_git
from tests.running import copy_of_ourselves
from tests.test_patches_apply import everything
from tests.test_supervisor_program import patch

PAGE = """--- a/web/views.py
+++ b/web/views.py
@@
 def source_list(desk: Desk) -> tuple:
+    raise RuntimeError("no such shelf")
     links = [c.Li(c.A(path, href=source_url(path))) for path in desk.repo.files()]
"""
MUTE = """--- a/chat/discussions.py
+++ b/chat/discussions.py
@@
         if key and self.state.rows("SELECT 1 FROM message WHERE key = ?", key):
             return None
+        raise RuntimeError("I will not listen")
         if role == "user" and self.get(discussion)["title"] == NEW:
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_ourselves(tmp_path_factory.mktemp("rehearsed") / "workbench")


def rehearse(root: Path, diff: str, tmp_path: Path) -> tuple[list[str], Note]:
    """With a state that has one setting; neither it nor the repository is changed."""
    state = State(home(root, tmp_path))
    state["mine"] = "kept"
    before = everything(root)

    async def collect() -> list[str | Note]:
        verdict = preview(Repo(root), diff)
        assert verdict.ok, verdict.reason

        def fill(clone: Path) -> None:
            State(state.copy(home(clone, clone.parent)).parent)["mine"] = "changed"

        told = run_trial("rehearsal", Branch(Repo(root)), verdict, fill)
        return [each async for each in told]

    *lines, note = asyncio.run(collect())
    assert everything(root) == before
    assert state["mine"] == "kept" and note.check == "rehearsal"
    return lines, note


def test_a_good_patch_shows_its_pages_and_answers(program: Path, tmp_path: Path) -> None:
    lines, note = rehearse(program, patch("x = 1"), tmp_path)
    assert note.ok, note.text
    assert {"/: 200", "/source: 200", "/context: 200"} <= set(map(str.strip, lines))


@pytest.mark.parametrize(
    ("diff", "words"),
    [
        (PAGE, "no such shelf"),
        (MUTE, "It failed"),
        (patch("raise RuntimeError('boom')"), "RuntimeError: boom"),
        (patch("import os", "os._exit(3)"), "status is 3"),
        (patch("import nowhere_to_be_found"), "nowhere_to_be_found"),
        ("--- a/supervisor/parent.py\n+++ b/supervisor/parent.py\n@@\n-import json\n", "json"),
        ("--- a/workbench.py\n+++ b/workbench.py\n@@\n-import fcntl\n", "fcntl"),
    ],
)
def test_a_patch_that_cannot_serve_is_refused_with_the_reason(
    program: Path, tmp_path: Path, diff: str, words: str
) -> None:
    """With a supervisor of its own, when it is that which was changed."""
    _, note = rehearse(program, diff, tmp_path)
    assert not note.ok and words in note.text


def test_what_a_patch_does_to_its_database_it_does_to_a_copy(program: Path, tmp_path: Path) -> None:
    wipe = "[p.unlink() for p in __import__('pathlib').Path(os.environ[{!r}]).rglob('*.db*')]"
    rehearse(program, patch("import os", wipe.format("WORKBENCH_HOME")), tmp_path)


def test_changed_requirements_get_an_environment_of_their_own(
    program: Path, tmp_path: Path
) -> None:
    """# M3: ours is linked only where it is what is asked for."""
    first = (program / "requirements.txt").read_text().splitlines()[0]
    for diff, linked in (
        (f"--- a/requirements.txt\n+++ b/requirements.txt\n@@\n+# more\n {first}\n", False),
        (patch("x = 1"), True),
    ):
        root = tmp_path / str(linked)
        trial._clone(Repo(program), preview(Repo(program), diff), root)
        assert (root / ".venv").exists() == linked
        assert os.path.lexists(root / "node_modules") == (program / "node_modules").exists()
        assert run_git(root, "rev-list", "--count", "HEAD").strip() == "2"
