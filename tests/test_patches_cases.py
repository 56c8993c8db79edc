"""Replies as models write them, one folder for each: what they make of the files, or why not.

`before/` holds the repository, where it is not the sample beside them, `reply.md` the reply,
`after/` the repository as it must be (of the sample only the files that change), or `refused.txt`
some words of the reason. In `shown/` are the files that the model was shown, where
they have changed since. # J1 J2 J12
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from patches import find, preview
from patches.fit import fit
from repo import Repo
from shapes import Change, Verdict, WorkbenchError
from tests.conftest import run_git
from tests.spoiling import FAULTS, SHAPES

Make = Callable[..., Path]
Files = dict[str, tuple[bytes, bool]]  # the bytes, and whether they may be executed
FOLDER = Path(__file__).parent / "cases" / "patches"
SAMPLE = FOLDER.parent / "sample"
CASES = sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir())
PREVIEWED = [
    "def-clean",
    "diff-clean",
    "file-has-moved-on-elsewhere",
    "one-of-two-files-is-a-secret",
]


def files_of(folder: Path) -> Files:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode & 0o100 > 0)
        for path in found
    }


def before_of(folder: Path) -> Files:
    return files_of(folder / "before") or files_of(SAMPLE)


def laid(git_repo: Make, folder: Path) -> tuple[Repo, str, str]:
    """The repository, the reply, and the commit that it was made for."""
    before = before_of(folder)
    shown = files_of(folder / "shown")
    root = git_repo({path: data for path, (data, _) in (shown or before).items()})
    for path, (data, is_executable) in before.items():
        (root / path).write_bytes(data)
        if is_executable:
            (root / path).chmod(0o755)
            run_git(root, "add", "-A")
    base = run_git(root, "rev-parse", "HEAD").strip() if shown else ""
    return Repo(root), (folder / "reply.md").read_bytes().decode(), base


def placed(repo: Repo, reply: str, base: str) -> Verdict:
    """As `preview`, without what it asks child processes."""
    try:
        fitted = fit(repo, [edit for part in find(reply) for edit in part.edits], base)
    except WorkbenchError as error:
        return Verdict(False, str(error))
    return Verdict(bool(fitted), "", [each.change for each in fitted])


def changed(files: Files, changes: list[Change]) -> Files:
    after = dict(files)
    for change in changes:
        after.pop(change.old_path or change.path, None)
        if change.after is not None:
            data = change.after.encode(change.encoding)
            after[change.path] = data, change.mode == "100755"
    return after


def check(folder: Path, verdict: Verdict) -> None:
    refused = folder / "refused.txt"
    assert not (refused.exists() and (folder / "after").exists())
    if refused.exists():
        assert not verdict.ok, changed({}, verdict.changes)
        assert refused.read_text().strip() in verdict.reason
    else:
        assert verdict.ok, verdict.reason
        rest = {} if (folder / "before").exists() else files_of(SAMPLE)
        after = changed(before_of(folder), verdict.changes)
        assert after == rest | files_of(folder / "after")


@pytest.mark.parametrize("name", CASES)
def test_a_reply_makes_exactly_the_files_that_it_means_or_is_refused(
    git_repo: Make, name: str
) -> None:
    """What is placed and shall be refused, or is no edit, is for the whole preview to refuse."""
    repo, reply, base = laid(git_repo, FOLDER / name)
    verdict = placed(repo, reply, base)
    if (FOLDER / name / "refused.txt").exists() and not verdict.reason:
        verdict = preview(repo, reply, base)
    check(FOLDER / name, verdict)


@pytest.mark.parametrize("name", PREVIEWED)
def test_the_whole_preview_says_the_same(git_repo: Make, name: str) -> None:
    repo, reply, base = laid(git_repo, FOLDER / name)
    check(FOLDER / name, preview(repo, reply, base))


def test_every_shape_and_every_fault_has_a_case() -> None:
    spoilt = [name.partition("-")[2] for name in CASES if name.split("-")[0] in SHAPES]
    assert {fault.replace("_", "-") for fault in FAULTS} <= set(spoilt)
    assert {f"{shape}-clean" for shape in SHAPES} <= set(CASES)
