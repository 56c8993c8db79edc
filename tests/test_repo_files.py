"""repo/files.py: reads what is there, never goes outside, never runs what a repository says."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo import Repo
from shapes import WorkbenchError
from tests.conftest import run_git


def test_every_tracked_file_is_listed_once_whatever_its_name(git_repo: Callable[..., Path]) -> None:
    """# G3"""
    names = ["a.py", "errors.py", "with space.py", "q\"uote'.py", "é漢.md", "deep/er/x.py", "n\nl"]
    repo = Repo.open(git_repo(dict.fromkeys(names, "x\n")))
    assert repo.files() == sorted(names)


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "//", "//etc/passwd", "a/../../x", ".git/config", ".GIT/config",
     "git~1/config", "", ".", "a\0b", "..\\x", "link/x", "link"],
)  # fmt: skip
def test_a_path_that_leaves_the_repository_is_refused(
    path: str, git_repo: Callable[..., Path]
) -> None:
    root = git_repo({"a.py": "x\n"})
    (root / "link").symlink_to("/etc")
    with pytest.raises(WorkbenchError):
        Repo.open(root).resolve(path)


@given(st.text(max_size=60))
def test_whatever_resolves_lies_inside(path: str) -> None:
    root = Path(__file__).resolve().parent
    try:
        place = Repo(root).resolve(path)
    except WorkbenchError:
        return
    assert root in place.parents and ".git" not in place.parts


def test_text_keeps_every_byte(git_repo: Callable[..., Path]) -> None:
    files = {"crlf": b"a\r\nb", "bom": b"\xef\xbb\xbfx\n", "latin": b"caf\xe9\n", "empty": b""}
    repo = Repo.open(git_repo(files))
    for name, data in files.items():
        file = repo.text(name)
        assert file is not None and file.text.encode(file.encoding) == data
        assert file.sha == run_git(repo.root, "hash-object", "--no-filters", name).strip()


def test_a_repositorys_own_configuration_runs_nothing(git_repo: Callable[..., Path]) -> None:
    root = git_repo({"a.py": "x\n"})
    mark = root.parent / "ran"
    run_git(root, "config", "core.fsmonitor", f"touch {mark}; false")
    run_git(root, "config", "core.pager", f"touch {mark}")
    run_git(root, "config", "diff.external", f"touch {mark}")
    repo = Repo.open(root)
    repo.files(), repo.log(), repo.git("status"), repo.git("diff")
    assert not mark.exists()


def test_history_tells_what_changed(git_repo: Callable[..., Path]) -> None:
    root = git_repo({"a.py": "x\n", "b c.py": "y\n"})
    (root / "a.py").write_text("z\n")
    run_git(root, "commit", "-qam", "second | with, marks")
    repo = Repo.open(root)
    assert [(c.subject, c.paths) for c in repo.log()] == [
        ("second | with, marks", ("a.py",)),
        ("first commit", ("a.py", "b c.py")),
    ]
    assert [c.subject for c in repo.log(path="b c.py")] == ["first commit"]


def test_bad_places_are_told_in_plain_words(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="not inside a git repository"):
        Repo.open(tmp_path)
    with pytest.raises(WorkbenchError, match="no folder"):
        Repo.open(tmp_path / "nowhere")
    run_git(tmp_path, "init", "-q", "--bare")
    with pytest.raises(WorkbenchError, match="not inside a git repository"):
        Repo.open(tmp_path)


def test_an_unborn_and_a_detached_head_can_be_read(git_repo: Callable[..., Path]) -> None:
    root = git_repo({"a.py": "x\n"})
    run_git(root, "checkout", "-q", "--detach")
    assert Repo.open(root).branch() == "" and Repo.open(root).head()
    empty = root.parent / "empty"
    empty.mkdir()
    run_git(empty, "init", "-q")
    repo = Repo.open(empty)
    assert (repo.head(), repo.files(), repo.log()) == ("", [], [])
