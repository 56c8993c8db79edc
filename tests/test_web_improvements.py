"""The page of all that was applied, and the way to any of it. # J10, O5"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.conftest import run_git
from tests.running import ROOT, Running, command

NEW = "--- /dev/null\n+++ b/{0}.py\n@@ -0,0 +1 @@\n+x = {0!r}\n"


def test_every_change_is_listed_and_one_can_go_to_any(
    git_repo: Callable[..., Path], tmp_path: Path
) -> None:
    repo, home = git_repo({"app.py": "x = 1\n"}), tmp_path / "home"
    home.mkdir()
    apply = ["patch", "apply", "-", "--json", "--repo", str(repo)]

    def add(name: str) -> str:
        done = command(ROOT, *apply, home=home, input=NEW.format(name))
        return json.loads(done.stdout)["commit"]

    def states(client: httpx.Client) -> dict[str, str]:
        page = client.get("/improvements").text
        rows = re.findall(r"<td>Create (\w+)\.py</td>.*?<td>(undone|applied|kept)</td>", page, re.S)
        return dict(rows)

    add("one")
    command(ROOT, "patch", "keep", "--repo", str(repo), home=home)
    commits = {name: add(name) for name in ("two", "three", "four")}
    with (
        Running(ROOT, home, repo=repo) as bench,
        httpx.Client(base_url=bench.url, timeout=30) as client,
    ):
        applied = {"four": "applied", "three": "applied", "two": "applied", "one": "kept"}
        assert states(client) == applied
        assert client.post(f"/improvements/{commits['two']}").status_code == 200
        assert states(client) == applied | {"four": "undone", "three": "undone"}
        assert sorted(path.name for path in repo.glob("*.py")) == ["app.py", "one.py", "two.py"]
        (repo / "four.py").write_text("mine\n")
        clash = client.post(f"/improvements/{commits['four']}", headers={"HX-Request": "true"})
        assert clash.status_code == 409 and clash.text.startswith("four.py: ")
        (repo / "four.py").unlink()
        assert client.post(f"/improvements/{commits['four']}").status_code == 200
        assert states(client) == applied
        head = run_git(repo, "rev-parse", "HEAD").strip()
        for nowhere in (head, "HEAD", "0" * 40, "main"):
            refused = client.post(f"/improvements/{nowhere}", headers={"HX-Request": "true"})
            assert refused.status_code == 409
    assert run_git(repo, "status", "--porcelain") == ""
