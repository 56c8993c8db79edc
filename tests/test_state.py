"""state.py: a dict that outlives its process, and rows that are never half written."""

import subprocess
import sys
from pathlib import Path

import pytest

from shapes import WorkbenchError
from state import MIGRATIONS, State, home, token


def test_state_is_a_dict_that_outlives_its_process(tmp_path: Path) -> None:
    """# F1, F4"""
    state = State(tmp_path)
    state["model"] = "gemma3:4b"
    state["window_tokens"] = 8192
    assert "model" in state and dict(state) == {"model": "gemma3:4b", "window_tokens": 8192}
    del state["model"]
    with pytest.raises(KeyError):
        state["model"]
    with pytest.raises(KeyError):
        del state["model"]
    assert list(State(tmp_path)) == ["window_tokens"]


def test_a_killed_process_loses_nothing_that_was_written(tmp_path: Path) -> None:
    """# A19: kill -9 right after the write returned."""
    script = (
        "import os, sys; from pathlib import Path; from state import State;"
        "State(Path(sys.argv[1])).insert('discussion', title='kept'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], check=False)
    assert [row["title"] for row in State(tmp_path).rows("SELECT * FROM discussion")] == ["kept"]


def test_an_older_database_is_brought_up_to_date_once(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert state.rows("PRAGMA user_version")[0][0] == len(MIGRATIONS)
    assert State(tmp_path).rows("PRAGMA user_version")[0][0] == len(MIGRATIONS)


def test_a_file_that_is_no_database_is_said_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "workbench.db").write_text("not a database at all, but long enough to be read")
    with pytest.raises(WorkbenchError, match="cannot be opened"):
        State(tmp_path)


def test_each_repository_has_its_own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    one, two = home(tmp_path / "a" / "same"), home(tmp_path / "b" / "same")
    assert one != two and one.is_dir() and one.name.startswith("same-")


def test_the_token_is_secret_and_stays_the_same(tmp_path: Path) -> None:
    """# Q3"""
    first = token(tmp_path)
    assert len(first) > 30 and token(tmp_path) == first
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
