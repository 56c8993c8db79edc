"""Mechanical edits of a whole repository as a diff: rename, tidy imports, modernise, document.

Knows nothing of who asks. Invariant: writes nothing; jedi and ruff run in a child process.
"""

from patches.child import call
from repo import Repo


def rewrite(repo: Repo, kind: str, **arguments: str) -> tuple[str, list[str]]:
    """A git-applicable diff, "" when there is nothing to change, and what a person should know.

    Kinds: rename(old, new), unused_imports(), fstrings(), unions(), docstring(name, text). Each
    takes `path`, a file or a folder: where the definition stands, or else what to edit.
    WorkbenchError where the edit cannot be made exactly.
    """
    diff, remarks = call("patches.transforms:run", [str(repo.root), kind, arguments], timeout_s=60)
    return diff, remarks
