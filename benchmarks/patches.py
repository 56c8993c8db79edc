"""Edits of real commits, spoilt as models spoil them: which land as meant, which are refused, and
which go wrong in silence; beside `git apply`, GNU patch, aider's code, mpatch and whatthepatch.

Takes commits with one or two files and at most 60 changed lines from git repositories (bare ones
too), writes each as a reply with a named fault (tests/spoiling.py), lays the files in one scratch
repository and asks `patches.preview`. The time is that of finding and placing alone, where these
can be called, because the checks run in child processes. The peers get the cases that are diffs,
without fences and prose (mpatch reads replies itself). A peer's refusal counts as one even where it
left the tree half changed.

    python -m benchmarks.patches [REPO ...] [--cases N] [--seed S] [--fault NAME] [--show NAME]
"""

import argparse
import difflib
import importlib
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from patches import preview
from patches.fit import fit
from patches.read import find
from repo import Repo
from shapes import Change, WorkbenchError
from tests.spoiling import FAULTS, SHAPES, Case, DoesNotApply, Edit, spoil

MAX_CHANGED, MAX_CHARS, COMMITS = 60, 120_000, 400
TRIES = 60  # commits tried for one fault
Peer = Callable[[Path, str], bool]


def edits_of(repository: Path, rng: random.Random, newest: str = "HEAD") -> list[Edit]:
    """Small edits of text files from the history up to `newest`, in random order."""
    git = ["git", "-C", str(repository)]
    log = [
        *git,
        "log",
        "--no-merges",
        "--no-renames",
        "--raw",
        "--abbrev=40",
        "--format=%x1e",
        "-z",
    ]
    found = subprocess.run([*log, "-n4000", newest], capture_output=True, check=True).stdout
    commits = []
    for record in found.decode("utf-8", "replace").split("\x1e")[1:]:
        row = re.compile(r":(\d+) (\d+) (\w+) (\w+) ([MAD])\0([^\0]+)\0")
        files = row.findall(record)
        if 0 < len(files) <= 2 and all(f[4] == "M" and f[1][:3] == "100" for f in files):
            commits.append(files)
    rng.shuffle(commits)
    edits: list[Edit] = []
    with subprocess.Popen(
        [*git, "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as cat:
        for files in commits:
            texts = {f[5]: (blob(cat, f[2]), blob(cat, f[3])) for f in files}
            if len(edits) < COMMITS and all(a and b and small(a, b) for a, b in texts.values()):
                edits.append(texts)
        cat.stdin.close()
    return edits


def blob(cat: subprocess.Popen, sha: str) -> str | None:
    cat.stdin.write(f"{sha}\n".encode())
    cat.stdin.flush()
    words = cat.stdout.readline().split()
    if words[-1] == b"missing":
        return None
    data = cat.stdout.read(int(words[2]) + 1)[:-1]
    try:
        return data.decode() if len(data) < MAX_CHARS and b"\0" not in data else None
    except UnicodeDecodeError:
        return None


def small(before: str, after: str) -> bool:
    old, new = Counter(before.split("\n")), Counter(after.split("\n"))
    return before != after and ((old - new) + (new - old)).total() <= MAX_CHANGED


class Bench:
    """A scratch repository that holds the files of one case at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        self.laid: dict[str, bytes] = {}
        self.lay({})

    def lay(self, files: Mapping[str, bytes]) -> None:
        fixed = {
            "NOTES": b"a file that no edit names\n",
            "lib/other.py": b"def other():\n    pass\n",
        }
        files = {**fixed, **files}
        for path in self.laid.keys() - files.keys():
            (self.root / path).unlink()
        for path, data in files.items():
            if self.laid.get(path) != data:
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
                (self.root / path).write_bytes(data)
        if self.laid.keys() != files.keys():
            # whatever the paths are: ignored names too
            add = ["git", "-c", "core.autocrlf=false", "-C", str(self.root), "add", "-A", "-f", "."]
            subprocess.run(add, check=True, capture_output=True)
        self.laid = dict(files)


@dataclass
class Row:
    """What came of the cases with one fault."""

    right: int = 0
    refused: int = 0
    wrong: int = 0
    milliseconds: list[float] = field(default_factory=list)

    def add(self, outcome: str, spent: float | None = None) -> None:
        setattr(self, outcome, getattr(self, outcome) + 1)
        if spent is not None:
            self.milliseconds.append(spent)

    def __str__(self) -> str:
        cases = self.right + self.refused + self.wrong
        share = f"{100 * self.right / max(cases, 1):6.1f}"
        times = sorted(self.milliseconds) or [0.0]
        quick = (
            f"{statistics.median(times):7.1f} {times[int(len(times) * 0.95)]:7.1f} {times[-1]:7.1f}"
        )
        return f"{cases:6} {self.right:6} {share} {self.refused:8} {self.wrong:6}  {quick}"


def place(repo: Repo, reply: str) -> Sequence[Change] | None:
    try:
        return [f.change for f in fit(repo, [e for s in find(reply) for e in s.edits])] or None
    except WorkbenchError:
        return None


def ours(bench: Bench, case: Case, quick: bool) -> tuple[str, float, str]:
    """(outcome, milliseconds for finding and placing, what was said)"""
    repo = Repo(bench.root)
    begun = time.perf_counter()
    placed = place(repo, case.reply)
    spent = (time.perf_counter() - begun) * 1000
    if quick and case.outcome(placed) == "right":
        return "right", spent, ""
    verdict = preview(repo, case.reply)
    outcome = case.outcome(verdict.changes if verdict.ok else None)
    return outcome, spent, verdict.reason or verdict.diff


# ---- peers: each changes a folder, and says whether it could


def diff_alone(reply: str) -> str:
    """The diff without fences and prose, as a person would save it."""
    lines = reply.replace("\r\n", "\n").split("\n")
    start = next((i for i, x in enumerate(lines) if re.match(r" *(diff --git|--- |@@)", x)), 0)
    fence = re.match(r"( *)(`{3,}|~{3,})", lines[start - 1]) if start else None
    if not fence:
        return "\n".join(lines[start:])
    ends = (i for i, x in enumerate(lines) if i > start and x.startswith(fence[0]))
    kept = lines[start : next(ends, len(lines))]
    return "\n".join(line.removeprefix(fence[1]) for line in kept) + "\n"


def command(*words: str) -> Peer:
    def run(folder: Path, reply: str) -> bool:
        diff = diff_alone(reply).encode()
        return subprocess.run(words, cwd=folder, input=diff, capture_output=True).returncode == 0

    return run


def aider() -> Peer:
    coder = importlib.import_module("aider.coders.udiff_coder")

    def run(folder: Path, reply: str) -> bool:
        name, edits = None, []
        # it asks models for diffs without git's own lines, and knows none of them
        diff = re.sub(
            r"^(diff --git|index|new file mode|old mode|new mode) .*\n",
            "",
            diff_alone(reply),
            flags=re.M,
        )
        for path, lines in coder.find_diffs(f"```diff\n{diff}```\n"):
            name = path or name
            edit = (folder / name, coder.normalize_hunk(lines))
            if edit[1] and edit not in edits:
                edits.append(edit)
        for path, hunk in edits:
            text = path.read_text() if path.exists() else None
            text = coder.do_replace(path, text, hunk)
            if not text:
                return False
            path.write_text(text)
        return bool(edits)

    return run


def mpatch() -> Peer:
    library = importlib.import_module("mpatch")
    return lambda folder, reply: library.apply_directory(reply, folder, atomic=True)


def whatthepatch() -> Peer:
    library = importlib.import_module("whatthepatch")

    def run(folder: Path, reply: str) -> bool:
        for each in library.parse_patch(diff_alone(reply)):
            old, new = (folder / name for name in (each.header.old_path, each.header.new_path))
            text = old.read_text() if old.is_file() else ""
            new.write_text("\n".join(library.apply_diff(each, text)) + "\n")
        return True

    return run


def peers() -> dict[str, Peer | None]:
    loose = ["--recount", "--ignore-whitespace", "-C1"]
    found: dict[str, Peer | None] = {
        "git apply": command("git", "apply", "--whitespace=nowarn", "-"),
        "git apply --recount ... -C1": command("git", "apply", *loose, "--whitespace=nowarn", "-"),
        "GNU patch": command("patch", "-p1", "-f", "-s", "--no-backup-if-mismatch", "-r", "-"),
    }
    for load in (aider, mpatch, whatthepatch):
        try:
            found[load.__name__] = load()
        except ImportError:
            found[load.__name__] = None
    return found


def compare(run: Peer, case: Case) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for path, data in case.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        try:
            done = run(folder, case.reply)
        except Exception:  # whatever a peer raises is its refusal
            done = False
        found = (path for path in folder.rglob("*") if path.is_file())
        got = {str(path.relative_to(folder)): path.read_bytes() for path in found}
    if not done:
        return case.outcome(None)
    meant = {path: data for path, data in case.after.items() if data is not None}
    return "right" if got == meant and case.want != "refuse" else "wrong"


# ---- the run


def cases(
    edits: list[Edit], number: int, rng: random.Random, only: str = ""
) -> Iterator[tuple[str, Case]]:
    """(group, case): every fault alone in turn, clean shapes, and every fourth time two faults."""
    names = [name for name in FAULTS if not only or name == only]
    turns = turns_of(names, rng, bool(only))
    made = 0
    while made < number:
        faults, shape = next(turns)
        for _ in range(TRIES):
            try:
                case = spoil(rng.choice(edits), rng, faults, shape)
            except DoesNotApply:
                continue
            group = "two faults" if len(faults) > 1 else next(iter(faults), f"clean {shape}")
            yield group, case
            break
        made += 1


def turns_of(
    names: list[str], rng: random.Random, alone: bool
) -> Iterator[tuple[tuple[str, ...], str]]:
    while True:
        for name in names:
            yield (name,), rng.choice(FAULTS[name].shapes)
            if not alone and rng.random() < 0.33:
                shape = rng.choice(["diff", "diff", *SHAPES])
                fitting = [other for other in names if shape in FAULTS[other].shapes]
                yield tuple(rng.sample(fitting, 2)), shape
        if not alone:
            yield from (((), shape) for shape in SHAPES)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.patches")
    parser.add_argument("repositories", nargs="*", type=Path, default=[Path()])
    parser.add_argument("--cases", type=int, default=1500, help="for each repository")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", default="", help="only this one")
    parser.add_argument("--show", default="", help="print what fails with this fault (or: all)")
    parser.add_argument("--quick", action="store_true", help="no checks where the place is right")
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args()
    rows: dict[str, Row] = defaultdict(Row)
    wants: Counter[str] = Counter()
    rivals = {} if given.no_peers else peers()
    beside = {name: Row() for name in ["ours, the same cases", *rivals]}
    for repository in given.repositories:
        rng = random.Random(given.seed)
        edits = edits_of(repository, rng)
        print(f"{repository}: {len(edits)} edits", file=sys.stderr)
        with tempfile.TemporaryDirectory() as scratch:
            bench = Bench(Path(scratch))
            for group, case in cases(edits, given.cases, rng, given.fault):
                bench.lay(case.files)
                outcome, spent, said = ours(bench, case, given.quick)
                rows[group].add(outcome, spent)
                rows["ALL"].add(outcome, spent)
                wants[case.want] += 1
                if outcome != "right" and given.show in (group, "all"):
                    show(group, case, outcome, said)
                if case.shape == "diff" and rivals:
                    beside["ours, the same cases"].add(outcome, spent)
                    for name, run in rivals.items():
                        if run:
                            begun = time.perf_counter()
                            result = compare(run, case)
                            beside[name].add(result, (time.perf_counter() - begun) * 1000)
    head = " cases  right      %  refused  wrong   ms med     p95     max"
    print(f"{'fault':42} {head}")
    for name in [*sorted(rows.keys() - {"ALL"}), "ALL"]:
        print(f"{name:42} {rows[name]}")
    print(f"asked for: {', '.join(f'{count} {want}' for want, count in wants.items())}")
    print(f"\n{'diffs only':42} {head}")
    for name, row in beside.items():
        print(f"{name:42} {'not installed' if rivals.get(name, 1) is None else row}")


def show(group: str, case: Case, outcome: str, said: str) -> None:
    print(f"{'=' * 100}\n{group}: {outcome}, wanted {case.want}; {case.shape} {case.faults}")
    print(f"{'-' * 40} reply\n{case.reply}\n{'-' * 40} said\n{said}\n{'-' * 40} meant")
    for path, data in case.after.items():
        sides = (case.files.get(path, b""), data or b"")
        old, new = (side.decode("utf-8", "replace").split("\n") for side in sides)
        print("\n".join(difflib.unified_diff(old, new, path, path, lineterm="")))


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    main()
