"""Fixtures that several rooms share: a tiny git repository."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# no test is about how fast a shared machine is
settings.register_profile("workbench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("workbench")

GIT = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
GIT += ["-c", "init.defaultBranch=main", "-c", "commit.gpgSign=false"]


def run_git(folder: Path, *arguments: str) -> str:
    """Run git as a person would and return what it prints."""
    done = subprocess.run([*GIT, *arguments], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "surrogateescape")


@pytest.fixture
def git_repo(tmp_path: Path) -> Callable[..., Path]:
    """A factory: `git_repo({"a.py": "x = 1\\n"})` is a repository with one commit on `main`."""

    def make(files: dict[str, str | bytes], name: str = "sample") -> Path:
        root = tmp_path / name
        root.mkdir()
        for path, content in files.items():
            place = root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        run_git(root, "init", "-q")
        run_git(root, "add", "-A")
        run_git(root, "commit", "-q", "-m", "first commit")
        return root

    return make
