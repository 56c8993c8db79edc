"""What of a commit's code stands in a pack that was asked for with nothing but its subject.

Takes commits that change Python functions from the history of git repositories (bare ones too); the
subject is the question, the parent's tree the repository. Prints, of all commits together:

  functions  share of the changed functions whose whole text is in the pack
  code       the same without tests
  hunks      share of the commits of which every changed place in a Python file is in the pack
  named      share of the changed Python files that are named with one of their symbols, or whole
  fill       tokens used of the budget, the least that a commit had
  seconds    of the first pack of the first commit, with empty caches; the median of all others

beside two baselines under the same budget: whole files by path, and whole files by plain BM25.

    python -m benchmarks.packing REPO ... [--commits N] [--seed S] [--budgets 8000 32000] [--fit]

With --fit it tries other weights, one at a time, and prints those that are better.

    python -m benchmarks.packing --speed 300 10000 [--repomix PATH/TO/repomix]

With --speed it makes trees of so many Python files of about 60 lines and prints the seconds of the
first pack in the process, of the median of five packs each after one changed file, of the whole
command `workbench.py pack` at 128,000 tokens, and of repomix on the same tree.
"""

import argparse
import ast
import math
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from context import Identity, count, pack, worth
from repo import Repo

WHO = Identity("Chip", "Workbench", "none", 131_072)
HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+")
SECTION = re.compile(r"^===== (\S+).* =====$", re.M)
TEST = re.compile(r"(^|/)(tests?|testing)/|(^|/)(test_|conftest)")
DULL = re.compile(r"(?i)^(merge|release|bump|prepare|version|revert|\W*$|v?\d)")
FACTORS = 0, 0.5, 2


@dataclass
class Case:
    """One commit: what it asks, and what a pack should hold of its parent."""

    repo: Repo
    parent: str
    question: str
    functions: list[tuple[str, str]]  # path, text
    hunks: list[tuple[str, list[str]]]  # path, any of these texts
    symbols: dict[str, set[str]]  # of each changed file


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, check=True, text=True, errors="replace")
    return done.stdout


def cases(source: Path, folder: Path, wanted: int, seed: int) -> Iterator[Case]:
    subprocess.run(["git", "clone", "-qsn", str(source), str(folder)], check=True)
    repo = Repo(folder)
    rows = git(folder, "log", "--no-merges", "--format=%H %P%x1f%s", "-n3000").splitlines()
    random.Random(seed).shuffle(rows)
    for row in rows:
        commit, _, subject = row.partition("\x1f")
        sha, _, parent = commit.partition(" ")
        if not parent or DULL.search(subject) or len(subject.split()) < 3:
            continue
        names = git(folder, "diff", "--name-only", "--diff-filter=M", parent, sha, "--", "*.py")
        if 0 < len(names.splitlines()) <= 6:
            case = Case(repo, parent, subject, [], [], {})
            for path in names.splitlines():
                look(case, folder, sha, path)
            if 0 < len(case.functions) <= 12:
                wanted -= 1
                yield case
        if not wanted:
            return


def look(case: Case, folder: Path, sha: str, path: str) -> None:
    """Adds what a commit changes in one file."""
    before = git(folder, "show", f"{case.parent}:{path}")
    lines = before.split("\n")
    try:
        tree = ast.parse(before)
    except SyntaxError:
        return
    diff = git(folder, "diff", "-U0", case.parent, sha, "--", path)
    changed = set()
    for start, many in HUNK.findall(diff):
        first, many = int(start), int(many or 1)
        touched = (
            lines[first - 1 : first - 1 + many] if many else lines[max(0, first - 1) : first + 1]
        )
        last = first + many - 1 if many else first + 1
        changed.add((first, last, bool(many)))
        texts = [text for text in touched if text.strip()]
        case.hunks.append((path, ["\n".join(touched).strip("\n")] if many else texts or [""]))
    nodes = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inner = {id(n) for f in nodes for n in ast.walk(f) if n is not f}
    for node in nodes:
        start = min([node.lineno, *(it.lineno for it in node.decorator_list)])
        inside = (
            a <= node.end_lineno and b >= start if many else start <= a and b <= node.end_lineno
            for a, b, many in changed
        )
        if id(node) not in inner and any(inside):
            case.functions.append((path, "\n".join(lines[start - 1 : node.end_lineno])))
    named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    case.symbols[path] = {n.name for n in ast.walk(tree) if isinstance(n, named)}


def score(case: Case, text: str) -> dict[str, list[float]]:
    places = [*SECTION.finditer(text)]
    sections: Counter[str] = Counter()
    for match, after in zip(places, [*places[1:], None], strict=True):
        sections[match[1]] = text[match.end() : after.start() if after else len(text)]
    got = [f"\n{body}\n" in f"{sections.get(path, '')}\n" for path, body in case.functions]
    code = [
        hit for hit, (path, _) in zip(got, case.functions, strict=True) if not TEST.search(path)
    ]
    hunks = [any(it in sections.get(path, "\0") for it in texts) for path, texts in case.hunks]
    named = []
    for path, symbols in case.symbols.items():
        line = re.search(rf"^{re.escape(path)}(:.*)?$", text, re.M)
        words = set(re.findall(r"\w+", (line[1] or "" if line else "") + sections.get(path, "")))
        named.append(bool(words & symbols) or (not symbols and (path in sections or bool(line))))
    return {"functions": got, "code": code, "hunks": [all(hunks)], "named": named}


def by_path(repo: Repo, budget: int, question: str) -> str:
    return whole_files(repo, repo.files(), budget)


def by_bm25(repo: Repo, budget: int, question: str) -> str:
    """Plain words, whole files, k1 = 1.2 and b = 0.75."""
    texts = {path: file.text for path in repo.files() if (file := repo.text(path))}
    words = {path: Counter(re.findall(r"\w+", text.lower())) for path, text in texts.items()}
    mean = sum(it.total() for it in words.values()) / max(1, len(words))
    scores: Counter[str] = Counter()
    for term in set(re.findall(r"\w+", question.lower())):
        having = [path for path in words if words[path][term]]
        idf = math.log(1 + (len(words) - len(having) + 0.5) / (len(having) + 0.5))
        for path in having:
            much = words[path][term]
            long = 0.25 + 0.75 * words[path].total() / mean
            scores[path] += idf * much * 2.2 / (much + 1.2 * long)
    return whole_files(repo, sorted(texts, key=lambda path: (-scores[path], path)), budget)


def whole_files(repo: Repo, paths: list[str], budget: int) -> str:
    parts, room = [], budget
    for path in paths:
        file = repo.text(path) if path.endswith(".py") else None
        block = f"===== {path} =====\n{file.text}\n" if file else ""
        size = len(block) / 3 if len(block) > 12 * room else count(block)
        if size <= room:
            parts.append(block)
            room -= size
        if room < 50:
            break
    return "".join(parts)


def packed(repo: Repo, budget: int, question: str) -> str:
    return pack(repo, budget, WHO, question).text


PACKERS: dict[str, Callable[[Repo, int, str], str]] = {
    "by path": by_path,
    "BM25 over files": by_bm25,
    "workbench": packed,
}


def measure(
    found: list[Case], budget: int, packer: Callable[[Repo, int, str], str]
) -> dict[str, float]:
    rows: dict[str, list[float]] = {}
    for case in found:
        git(case.repo.root, "checkout", "-qf", case.parent)
        begun = time.perf_counter()
        text = packer(case.repo, budget, case.question)
        taken = time.perf_counter() - begun
        facts = {**score(case, text), "fill": [count(text) / budget], "seconds": [taken]}
        for name, values in facts.items():
            rows.setdefault(name, []).extend(values)
    shown = {name: statistics.fmean(rows[name] or [0]) for name in rows}
    rest = rows["seconds"][1:] or rows["seconds"]
    return shown | {
        "fill": min(rows["fill"]),
        "most": max(rows["fill"]),
        "first": rows["seconds"][0],
        "seconds": statistics.median(rest),
    }


def show(name: str, budget: int, got: dict[str, float]) -> None:
    shares = " ".join(f"{100 * got[key]:9.1f}" for key in ("functions", "code", "hunks", "named"))
    print(
        f"{name:18} {budget:6} {shares} {got['fill']:7.3f} {got['most']:7.3f} "
        f"{got['first']:7.2f} {got['seconds']:7.3f}",
        flush=True,
    )


def goal(found: list[Case], budgets: list[int]) -> float:
    total = 0.0
    for budget in budgets:
        got = measure(found, budget, packed)
        total += got["functions"] + 0.5 * got["hunks"] + 0.5 * got["named"]
    return total


def fit(found: list[Case], budgets: list[int]) -> None:
    best = goal(found, budgets)
    print(f"start {best:.4f}")
    for name, value in [*worth.WEIGHTS.items()]:
        for factor in FACTORS:
            worth.WEIGHTS[name] = value * factor
            if (now := goal(found, budgets)) > best + 0.002:
                print(f"{name} {value * factor:.3g}: {now - best:+.4f}", flush=True)
                best, value = now, value * factor
        worth.WEIGHTS[name] = value
    print(worth.WEIGHTS)


def tree(root: Path, files: int) -> None:
    """A repository of modules of six functions, with names drawn from 144."""
    draw = random.Random(1)
    verbs = "get set load save make find read write count parse merge open".split()
    nouns = "user item page file row key path name order event price token".split()
    names = [f"{verb}_{noun}" for verb in verbs for noun in nouns]
    for n in range(files):
        place = root / f"pkg{n % 100}" / f"mod_{n}.py"
        place.parent.mkdir(exist_ok=True)
        lines = [f'"""Module {n}: {draw.choice(names)}."""', "", "import os"]
        for k in range(6):
            one, two, three = draw.sample(names, 3)
            lines += ["", "", f"def {one}_{n}_{k}(value, other=None):", f'    """{one}, {two}."""']
            lines += ["    if other is None:", f"        other = {two}(value)"]
            lines += ["    for each in other:", f"        {three}(each, value)"]
            lines += [f"    return {three}_{k}(value)"]
        place.write_text("\n".join(lines) + "\n")
    for command in ("init -q", "add -A", "-c user.name=a -c user.email=a@b commit -qm first"):
        git(root, *command.split())


def timed(work: Callable[..., object], *arguments: object, **how: object) -> float:
    begun = time.perf_counter()
    work(*arguments, **how)
    return time.perf_counter() - begun


def speed(sizes: list[int], repomix: Path | None) -> None:
    ask, source = "where is get_user read?", Path(__file__).resolve().parent.parent
    print(f"{'files':>8} {'first':>8} {'later':>8} {'command':>8} {'repomix':>8}")
    for files in sizes:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            tree(root, files)
            repo = Repo.open(root)
            first, later = timed(pack, repo, 128_000, WHO, ask), []
            for path in repo.files()[:5]:
                (root / path).write_text(f"{(root / path).read_text()}\nlate = 1\n")
                later.append(timed(pack, repo, 128_000, WHO, ask))
            ours = [sys.executable, source / "workbench.py", "pack", "--budget", "128000"]
            ours += ["--repo", root, "--ask", ask]
            theirs = [repomix, root, "--quiet", "-o", root / "out.xml"]
            seconds = [
                timed(subprocess.run, it, cwd=root, check=True, stdout=subprocess.DEVNULL)
                for it in (ours, theirs)[: 1 + bool(repomix)]
            ]
        shown = [first, statistics.median(later), *seconds]
        print(f"{files:8}", *(f"{it:8.2f}" for it in shown), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("repositories", nargs="*", type=Path)
    parser.add_argument("--commits", type=int, default=12, help="of each repository")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budgets", type=int, nargs="+", default=[8_000, 32_000])
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--speed", type=int, nargs="+", metavar="FILES")
    parser.add_argument("--repomix", type=Path)
    parser.add_argument("--only", choices=PACKERS, help="one packer")
    options = parser.parse_args()
    if options.speed:
        return speed(options.speed, options.repomix)
    with tempfile.TemporaryDirectory() as folder:
        by_repo = {
            source: [*cases(source, Path(folder) / str(n), options.commits, options.seed)]
            for n, source in enumerate(options.repositories)
        }
        for source, some in by_repo.items():
            print(f"{source}: {len(some)} commits, {sum(len(c.functions) for c in some)} functions")
        found = [case for some in by_repo.values() for case in some]
        if options.fit:
            return fit(found, options.budgets)
        print(f"Python {sys.version.split()[0]}, seed {options.seed}")
        columns = (
            "   budget functions      code     hunks     named  fill >=  fill <=   first seconds"
        )
        print(f"{'':14}{columns}")
        for budget in options.budgets:
            for name, packer in PACKERS.items():
                if options.only in (None, name):
                    show(name, budget, measure(found, budget, packer))


if __name__ == "__main__":
    main()
