"""Runs a repository's own tests with an edit in place, in a clone that is thrown away.

Invariant: what the tests do to git or to tracked files stays in the clone; only `.venv` and
`node_modules` are the person's own, as tests can need them.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from subprocess import DEVNULL, PIPE, STDOUT

from patches.apply import Branch
from repo import Repo
from shapes import Note, Verdict, WorkbenchError

PYTEST = "-m pytest --new-first --verbosity=0 --color=no --tb=short".split()


async def run_tests(branch: Branch, verdict: Verdict) -> AsyncIterator[str | Note]:
    """pytest's lines as they come, of the touched test files first; then one Note. Closing the
    iterator ends the tests and what they started."""
    line, told = "", []
    with tempfile.TemporaryDirectory(prefix="workbench-", ignore_cleanup_errors=True) as place:
        try:
            clone = await asyncio.to_thread(_clone, branch.repo, verdict, Path(place, "clone"))
            pipes = {"stdin": DEVNULL, "stdout": PIPE, "stderr": STDOUT, "limit": 2**24}
            process = await asyncio.create_subprocess_exec(
                sys.executable, *PYTEST, cwd=clone, start_new_session=True, **pipes
            )
            try:
                async for data in process.stdout:
                    line = data.decode(errors="replace").strip("=\n")
                    told += [line] * line.startswith(("FAILED", "ERROR"))
                    yield line
                yield Note("tests", await process.wait() == 0, "; ".join([line.strip(), *told[:5]]))
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, SIGKILL)
                await process.wait()
        except (WorkbenchError, OSError, ValueError) as error:
            yield Note("tests", False, str(error))


def _clone(repo: Repo, verdict: Verdict, root: Path) -> Path:
    # a clone has none of the repository's own configuration: no filters
    env = {"GIT_ALLOW_PROTOCOL": "file", "GIT_LFS_SKIP_SMUDGE": "1"}
    repo.git("clone", "-q", "--shared", str(repo.root), str(root), env=env)
    Branch(Repo(root)).apply(verdict)
    edited = [Path(change.path).stem for change in verdict.changes]
    for path in root.rglob("*.py"):  # the newest are run first
        newness = any(name in path.stem for name in edited)
        os.utime(path, (newness, newness))
    for name in (".venv", "node_modules"):
        if (repo.root / name).is_dir() and not (root / name).exists():
            (root / name).symlink_to(repo.root / name)
    return root
