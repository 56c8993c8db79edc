"""workbench.py from the shell: the loop without a browser, and plain words for bad input."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.conftest import run_git
from tests.running import ROOT, Running, command, copy_of_ourselves

SAMPLE = {
    "app.py": "def greet(name):\n    return 'hello ' + name\n",
    "main.py": "from app import greet\n\nprint(greet('you'))\n",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_the_whole_loop_from_the_shell_on_ourselves(tmp_path: Path, home: Path) -> None:
    """# A12, J1, J10, J13: ask, preview, apply, undo leave the repository as it was."""
    root = copy_of_ourselves(tmp_path / "workbench")
    told = json.loads(
        command(root, "ask", "which file restarts the server?", "--json", home=home).stdout
    )
    assert told["sources"][0].startswith("supervisor/") and told["model"] == "built-in"
    asked = "rename the function plural to how_many"
    reply = json.loads(command(root, "ask", asked, "--json", home=home).stdout)["answer"]
    (tmp_path / "reply.md").write_text(reply)
    before = run_git(root, "write-tree")
    seen = command(root, "patch", "preview", "-", "--json", home=home, input=reply)
    preview = json.loads(seen.stdout)
    assert preview["ok"] and {"shapes.py"} <= {file["path"] for file in preview["files"]}
    applied = json.loads(
        command(root, "patch", "apply", str(tmp_path / "reply.md"), "--json", home=home).stdout
    )
    assert applied["branch"].startswith("workbench/")
    assert "def how_many" in (root / "shapes.py").read_text()
    compiled = [sys.executable, "-m", "compileall", "-q", "chat", "web", "models", "patches"]
    assert subprocess.run(compiled, cwd=root, check=False).returncode == 0
    listed = json.loads(command(root, "patch", "list", "--json", home=home).stdout)["patches"]
    assert [row["commit"] for row in listed] == [applied["commit"]]
    assert command(root, "patch", "undo", home=home).returncode == 0
    assert run_git(root, "status", "--porcelain") == "" == run_git(root, "diff")
    assert run_git(root, "write-tree") == before


def test_another_repository_is_served_just_as_well(
    git_repo: Callable[..., Path], home: Path
) -> None:
    repo = git_repo(SAMPLE)
    asked = ["ask", "who calls greet?", "--repo", str(repo), "--json"]
    told = json.loads(command(ROOT, *asked, home=home).stdout)
    assert "main.py:3" in told["sources"]
    pack = command(ROOT, "pack", "--repo", str(repo), "--budget", "3000", "--json", home=home)
    assert json.loads(pack.stdout)["budget"] == 3000
    assert sorted(path.name for path in repo.iterdir()) == [".git", "app.py", "main.py"]
    with Running(ROOT, home, repo=repo) as bench:
        assert "sample" in httpx.get(bench.url, trust_env=False).text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pack", "--repo", "/no/such/folder"], "There is no folder"),
        (["pack", "--repo", "/"], "not inside a git repository"),
        (["patch", "preview", "/no/such/file"], "cannot be read"),
        (["patch", "preview"], "cannot be read"),
        (["patch", "undo", "many"], "not a number"),
        (["patch", "undo"], "nothing to undo"),
        (["patch", "redo"], "nothing to redo"),
        (["ask", "hi", "--model", "no-such-model"], "11434|127.0.0.1:9"),
        (["rag", "rebuild"], "not built yet"),
        (["upgrades", "--json"], "not built yet"),
    ],
)
def test_bad_input_gets_a_sentence_and_a_hint(
    arguments: list[str], words: str, home: Path, git_repo: Callable[..., Path]
) -> None:
    if "--repo" not in arguments:
        arguments = [*arguments, "--repo", str(git_repo(SAMPLE))]
    done = command(ROOT, *arguments, home=home)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) >= 2, done.stderr
    assert re.search(words, done.stderr), done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["pack", "--budget", "0"],
        ["nonsense"],
        ["serve", "--port", "x"],
        ["serve", "--host", "0.0.0.0"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], home: Path) -> None:
    done = command(ROOT, *arguments, home=home)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_states_of_a_repository_that_no_change_can_begin_from(
    git_repo: Callable[..., Path], home: Path, tmp_path: Path
) -> None:
    diff = "--- a/app.py\n+++ b/app.py\n@@ -1 +1 @@\n-def greet(name):\n+def greet(who, name):\n"
    repo = git_repo(SAMPLE)
    run_git(repo, "checkout", "-q", "--detach")
    apply = ["patch", "apply", "-", "--json", "--repo", str(repo)]
    done = command(ROOT, *apply, home=home, input=diff)
    assert done.returncode == 1 and "detached" in json.loads(done.stdout)["reason"]
    empty = tmp_path / "empty"
    empty.mkdir()
    run_git(empty, "init", "-q")
    for arguments in (["ask", "what changed lately?"], ["pack"], ["ask", "where is x?"]):
        assert command(ROOT, *arguments, "--repo", str(empty), home=home).returncode == 0
    new = "--- /dev/null\n+++ b/new.py\n@@ -0,0 +1 @@\n+x = 1\n"
    done = command(ROOT, "patch", "apply", "-", "--repo", str(empty), home=home, input=new)
    assert done.returncode == 1 and "no commit" in done.stderr


def test_a_busy_port_is_told(home: Path) -> None:
    """# M4"""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = command(ROOT, "serve", "--no-browser", "--port", str(port), home=home)
    assert done.returncode == 1 and "cannot be had" in done.stderr and "--port" in done.stderr


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = command(ROOT, "ask", "hello", home=tmp_path / "file")
    assert done.returncode == 1 and "WORKBENCH_HOME" in done.stderr


def test_the_name_follows_the_folder_and_the_banner_counts_packages(
    tmp_path: Path, home: Path
) -> None:
    """# M5, M3: started by a bare PATH, the body runs in the same environment."""
    root = copy_of_ourselves(tmp_path / "my-bench")
    with Running(root, home) as bench:
        assert "My Bench" in httpx.get(bench.url, trust_env=False).text
        assert "My Bench is at" in bench.words() and "packages" in bench.words()
        assert ".venv" in Path(f"/proc/{bench.body()}/cmdline").read_text()


def test_a_second_serve_opens_the_page_of_the_first(
    home: Path, git_repo: Callable[..., Path]
) -> None:
    """# F9: it says so, whatever port it was asked for, and ends well."""
    repo = git_repo(SAMPLE)
    with Running(ROOT, home, repo=repo) as bench:
        again = ["serve", "--no-browser", "--repo", str(repo), "--port", str(bench.port + 1)]
        done = command(ROOT, *again, home=home)
        assert done.returncode == 0
        assert "It is served already." in done.stderr and bench.url in done.stderr
        assert bench.answers()
    with Running(ROOT, home, repo=repo) as bench:
        assert bench.answers()


def test_what_a_kill_left_half_done_is_finished_at_the_next_start(
    home: Path, git_repo: Callable[..., Path]
) -> None:
    """# J10: the journal says from what to what."""
    repo = git_repo(SAMPLE)
    new = "--- /dev/null\n+++ b/new.py\n@@ -0,0 +1 @@\n+x = 1\n"
    apply = ["patch", "apply", "-", "--json", "--repo", str(repo)]
    applied = json.loads(command(ROOT, *apply, home=home, input=new).stdout)
    refs = {f"refs/heads/{applied['branch']}": ["", applied["commit"]]}
    step = [[applied["base"], applied["commit"]], applied["branch"], refs]
    (repo / ".git/workbench.journal").write_text(json.dumps(step))
    (repo / "new.py").unlink()
    with Running(ROOT, home, repo=repo) as bench:
        assert "A change was cut short" in bench.words()
        assert (repo / "new.py").read_text() == "x = 1\n"
    assert run_git(repo, "status", "--porcelain") == ""
