"""Tries an edit in a clone that is thrown away: the repository's own tests, or this program whole.

Invariant: what is tried does to git, tracked files or state stays in the clone; only `.venv` and
`node_modules` are the person's own, as tests can need them, unless the edit changes what they hold.
"""

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM
from subprocess import DEVNULL, PIPE, STDOUT

from patches.apply import Branch
from repo import Repo
from shapes import Note, Verdict, WorkbenchError

CHECKS = {  # what is run, which of its lines are kept, and its limit
    "tests": ("-m pytest --new-first --verbosity=0 --color=no --tb=short", "FAILED|ERROR", None),
    "rehearsal": ("workbench.py rehearse", "", 900),  # it has limits of its own; pip has none
}
ENVIRONMENTS = {".venv": "requirements.txt", "node_modules": "package-lock.json"}
END_S = 8  # longer than a supervisor takes


async def run_trial(
    check: str, branch: Branch, verdict: Verdict, fill: Callable[[Path], object] = str
) -> AsyncIterator[str | Note]:
    """The lines of a check as they come, of the touched test files first; then one Note. `fill`
    gives the WORKBENCH_HOME of the clone its state. Closing the iterator ends all it started."""
    (command, mark, limit_s), line, told = CHECKS[check], "", []
    with tempfile.TemporaryDirectory(prefix="workbench-", ignore_cleanup_errors=True) as place:
        try:
            clone = await asyncio.to_thread(_clone, branch.repo, verdict, Path(place, "clone"))
            await asyncio.to_thread(fill, clone)
            pipes = {"stdin": DEVNULL, "stdout": PIPE, "stderr": STDOUT, "limit": 2**24}
            how = {"cwd": clone, "env": os.environ | {"WORKBENCH_HOME": place}} | pipes
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command.split(), start_new_session=True, **how
            )
            try:
                async with asyncio.timeout(limit_s):
                    async for data in process.stdout:
                        line = data.decode(errors="replace").strip("=\n")
                        told += [line] * bool(re.match(mark, line))
                        yield line
                    status = await process.wait()
                    text = "\n".join([line.strip(), *told[-50:]]) or f"Its exit status is {status}."
                    yield Note(check, status == 0, text)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, SIGTERM)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(process.wait(), END_S)
                    os.killpg(process.pid, SIGKILL)
                await process.wait()
        except (WorkbenchError, OSError, ValueError) as error:  # TimeoutError is one
            yield Note(check, False, str(error) or "It took too long.")


def _clone(repo: Repo, verdict: Verdict, root: Path) -> Path:
    # a clone has none of the repository's own configuration: no filters
    env = {"GIT_ALLOW_PROTOCOL": "file", "GIT_LFS_SKIP_SMUDGE": "1"}
    repo.git("clone", "-q", "--shared", str(repo.root), str(root), env=env)
    Branch(Repo(root)).apply(verdict)
    paths = {change.path for change in verdict.changes}
    for path in root.rglob("*.py"):  # the newest are run first
        newness = any(Path(edited).stem in path.stem for edited in paths)
        os.utime(path, (newness, newness))
    for name, content in ENVIRONMENTS.items():
        there = (repo.root / name).is_dir() and not (root / name).exists()
        if there and content not in paths:
            (root / name).symlink_to(repo.root / name)
    return root
