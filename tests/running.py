"""Starts a real workbench on a copy of this repository, the way a person would."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import run_git

ROOT = Path(__file__).resolve().parent.parent
DEADLINE_S = 40


def wait_until(true: Callable[[], Any], what: str = "it", deadline_s: float = DEADLINE_S) -> Any:  # noqa: ANN401
    """The first true value of `true()`; fails with `what` when none comes in time."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if value := true():
            return value
        threading.Event().wait(0.05)
    raise AssertionError(f"waited {deadline_s} s for {what}")


def copy_of_ourselves(folder: Path) -> Path:
    """This program as a fresh repository with one commit, sharing our environment by links."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for path in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, folder / path)
    for link in (".venv", "node_modules"):
        if (ROOT / link).exists():
            (folder / link).symlink_to(ROOT / link)
    run_git(folder, "init", "-q")
    run_git(folder, "add", "-A")
    run_git(folder, "commit", "-q", "-m", "the program as it is")
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(home: Path, ollama: str = "") -> dict[str, str]:
    """A person's environment with a home of its own, and no Ollama unless one is given."""
    return os.environ | {
        "WORKBENCH_HOME": str(home),
        "OLLAMA_HOST": ollama or "http://127.0.0.1:9",
        "NO_COLOR": "1",
    }


def command(root: Path, *arguments: str, home: Path, **more: object) -> subprocess.CompletedProcess:
    """Run one workbench command to its end."""
    return subprocess.run(
        [sys.executable, str(root / "workbench.py"), *arguments],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **more,
    )


class Running:
    """A served workbench; `with Running(root, home) as bench: bench.url`."""

    def __init__(self, root: Path, home: Path, ollama: str = "", repo: Path | None = None) -> None:
        self.root, self.port = root, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        arguments = ["serve", "--no-browser", "--port", str(self.port)]
        arguments += ["--repo", str(repo)] if repo else []
        self.log = (home / "stderr.log").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, str(root / "workbench.py"), *arguments],
            env=environment(home, ollama),
            stderr=self.log,
            stdin=subprocess.DEVNULL,
        )

    def __enter__(self) -> "Running":
        wait_until(self.answers, f"the page; stderr:\n{self.words()}")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()

    def answers(self) -> bool:
        assert self.process.poll() is None, self.words()
        try:
            return httpx.get(self.url, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def words(self) -> str:
        return Path(self.log.name).read_text(errors="replace")

    def body(self) -> int:
        """The process id of the body that serves now."""
        return httpx.get(f"{self.url}/healthz", trust_env=False).json()["pid"]


class Poll:
    """Asks for the page again and again on a thread of its own; `failed` must stay empty."""

    def __init__(self, url: str) -> None:
        self.url, self.failed, self.count = url, [], 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Poll":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            try:
                status = httpx.get(self.url, timeout=20, trust_env=False).status_code
            except httpx.HTTPError as error:
                status = repr(error)
            self.count += 1
            if status != 200:
                self.failed.append(status)
