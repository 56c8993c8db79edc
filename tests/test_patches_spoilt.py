"""Edits spoilt as models spoil them land as meant or are refused, never otherwise. # J1 J2 J10

The edits are those of our own history, and of two small files in which replacements are drawn.
"""

import os
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.patches import Bench, edits_of, ours, place
from patches import Branch, preview
from repo import Repo
from shapes import Change
from tests.conftest import run_git
from tests.spoiling import FAULTS, SHAPES, Case, DoesNotApply, Edit, spoil

Make = Callable[..., Path]
SEED, LEAST, PAIRS, TRIES = 3, 2, 60, 200
WILD = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SHOP = '''\
"""A shop that keeps its stock in a file."""

import json
from pathlib import Path

LIMIT = 20


class Stock:
    """What there is, by name."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.things: dict[str, int] = {}

    def load(self) -> None:
        if self.place.exists():
            self.things = json.loads(self.place.read_text())

    def save(self) -> None:
        text = json.dumps(self.things)
        self.place.write_text(text)

    def add(self, name: str, count: int = 1) -> int:
        known = self.things.get(name, 0)
        if known + count > LIMIT:
            raise ValueError(f"too many of {name}")

        self.things[name] = known + count
        return self.things[name]

    def take(self, name: str, count: int = 1) -> int:
        known = self.things.get(name, 0)
        if known < count:
            raise ValueError(f"too few of {name}")

        self.things[name] = known - count
        return self.things[name]


def report(stock: Stock) -> str:
    lines = []
    for name, count in sorted(stock.things.items()):
        # one line for each thing
        lines.append(f"{name}: {count}")
    return "\\n".join(lines)


def main() -> None:
    stock = Stock(Path("stock.json"))
    stock.load()
    print(report(stock))


if __name__ == "__main__":
    main()
'''
SHOP_EDITS = [
    ("LIMIT = 20\n", "LIMIT = 50\nLEAST = 1\n"),
    ("import json\n", "import json\nimport sys\n"),
    ("json.loads(self.place.read_text())", 'json.loads(self.place.read_text("utf-8"))'),
    (
        "        text = json.dumps(self.things)\n",
        "        text = json.dumps(self.things, indent=2)\n",
    ),
    ('f"too many of {name}"', 'f"at most {LIMIT} of {name}"'),
    (
        "        if known < count:\n",
        "        if count < 1:\n            return known\n        if known < count:\n",
    ),
    ("        # one line for each thing\n", ""),
    ("    lines = []\n", '    lines = ["Stock", "-----"]\n'),
    (
        "    stock.load()\n",
        "    try:\n        stock.load()\n    except OSError as error:\n        print(error)\n",
    ),
    (
        "def report(",
        "def total(stock: Stock) -> int:\n    return sum(stock.things.values())\n\n\ndef report(",
    ),
]
GUIDE = """\
# The shop

Keep your stock in order, and know what is there.

## Start

1. Make a folder.
2. Run this in it:

   ```bash
   shop init
   shop add nails 20
   ```

3. Look at `stock.json`.

## Limits

- at most 20 of a thing
- names are one word
- no prices, no dates

| command | does |
|---|---|
| add | puts a thing in |
| take | takes one out |

-- the shopkeeper
"""
GUIDE_EDITS = [
    ("Keep your stock in order, and know what is there.\n", "Know what is there.\n"),
    ("   shop add nails 20\n", "   shop add nails 20\n   shop report\n"),
    ("- at most 20 of a thing\n", "- at most 50 of a thing, at least 1\n"),
    ("- no prices, no dates\n", ""),
    ("| take | takes one out |\n", "| take | takes one out |\n| report | lists all |\n"),
    ("-- the shopkeeper\n", "-- the new shopkeeper\n"),
    ("## Limits\n", "## Help\n\nAsk the shopkeeper.\n\n## Limits\n"),
]


def made_edits(rng: random.Random, count: int) -> Iterator[Edit]:
    """One or two files with one to five replacements drawn."""
    sources = [("shop/stock.py", SHOP, SHOP_EDITS), ("docs/guide.md", GUIDE, GUIDE_EDITS)]
    for _ in range(count):
        edit: dict[str, tuple[str, str]] = {}
        for path, text, known in rng.sample(sources, rng.choice([1, 1, 2])):
            after = text
            for old, new in rng.sample(known, rng.choice([1, 1, 2, 3, 5])):
                after = after.replace(old, new, 1)
            edit[path] = (text, after)
        yield edit


def our_edits(rng: random.Random) -> list[Edit]:
    """Of the history up to a fixed commit, if this copy has it: each run draws the same."""
    here = Path(__file__).resolve().parent.parent
    try:
        return edits_of(here, rng, "438af1a")[:60]
    except (subprocess.CalledProcessError, OSError):
        return []


def one_case(rng: random.Random, edits: list[Edit], faults: tuple[str, ...], shape: str) -> Case:
    for _ in range(TRIES):
        try:
            return spoil(rng.choice(edits), rng, faults, shape)
        except DoesNotApply:
            continue
    raise DoesNotApply(f"{faults} in {shape}")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    return Bench(tmp_path_factory.mktemp("spoilt"))


@pytest.fixture(scope="module")
def outcomes(bench: Bench) -> dict[str, list[tuple[str, Case, str]]]:
    """(outcome, case, what was said) of every fault alone, every shape clean, and pairs."""
    rng = random.Random(SEED)
    edits = [*our_edits(rng), *made_edits(rng, 120)]
    plan = []
    for name, fault in FAULTS.items():
        shapes = [shape for shape in fault.shapes for _ in range(LEAST // len(fault.shapes) or 1)]
        plan += [(name, (name,), shape) for shape in shapes]
    plan += [(f"clean {shape}", (), shape) for shape in SHAPES for _ in range(LEAST)]
    for _ in range(PAIRS):
        shape = rng.choice(["diff", *SHAPES])
        fitting = [name for name in FAULTS if shape in FAULTS[name].shapes]
        plan.append(("two faults", tuple(rng.sample(fitting, 2)), shape))
    found: dict[str, list[tuple[str, Case, str]]] = {}
    for number, (group, faults, shape) in enumerate(plan):
        try:
            case = one_case(random.Random(f"{SEED} {number} {group}"), edits, faults, shape)
        except DoesNotApply:
            continue
        bench.lay(case.files)
        outcome, _, said = ours(bench, case, quick=True)
        found.setdefault(group, []).append((outcome, case, said))
    return found


def told(group: list[tuple[str, Case, str]], outcome: str) -> str:
    return "\n".join(
        f"{'=' * 80}\n{outcome}: {case.shape} {case.faults}, wanted {case.want}\n"
        f"{case.reply}\n---- said\n{said}"
        for got, case, said in group
        if got == outcome
    )


@pytest.mark.parametrize("fault", [*FAULTS, *(f"clean {shape}" for shape in SHAPES), "two faults"])
def test_nothing_lands_otherwise_than_meant(
    outcomes: dict[str, list[tuple[str, Case, str]]], fault: str
) -> None:
    cases = outcomes[fault]
    wrong = told(cases, "wrong")
    assert not wrong, wrong


def test_what_can_be_placed_is_placed(outcomes: dict[str, list[tuple[str, Case, str]]]) -> None:
    """At least 98 of 100 come out right, and no shape that is written cleanly is refused."""
    every = [each for cases in outcomes.values() for each in cases]
    right = sum(outcome == "right" for outcome, _, _ in every)
    assert len(every) > 300
    assert right >= 0.98 * len(every), told(every, "refused")
    for shape in SHAPES:
        assert not told(outcomes[f"clean {shape}"], "refused")


@st.composite
def spoilt(draw: st.DrawFn) -> Case:
    rng = draw(st.randoms(use_true_random=False))
    shape = draw(st.sampled_from(SHAPES))
    fitting = [name for name in FAULTS if shape in FAULTS[name].shapes]
    faults = draw(st.lists(st.sampled_from(fitting), max_size=2, unique=True))
    while True:
        try:
            return spoil(rng.choice(list(made_edits(rng, 8))), rng, faults, shape)
        except DoesNotApply:
            faults = faults[1:]


def bare(text: str) -> str:
    return "".join(text.split())


@WILD
@given(spoilt())
def test_a_placed_edit_changes_only_lines_that_it_names(bench: Bench, case: Case) -> None:
    """But for a whole file or a whole definition, and a file that is deleted, which name none."""
    bench.lay(case.files)
    changes = place(Repo(bench.root), case.reply) or []
    if case.shape in ("file", "def"):
        return
    named = {bare(line[skip:]) for line in re.split("\r?\n", case.reply) for skip in (0, 1)}
    for change in changes:
        if change.action == "delete":
            continue
        source = case.files.get(change.old_path or change.path, b"")
        before = source.decode(change.encoding).removeprefix("\ufeff").split("\n")
        after = (change.after or "").removeprefix("\ufeff").split("\n")
        for line in counted(before, after) + counted(after, before):
            assert bare(line) in named, line


def counted(some: list[str], others: list[str]) -> list[str]:
    """Lines that stand in `some` more often than in `others`."""
    return [line for line in set(some) if some.count(line) > others.count(line) and bare(line)]


@WILD
@given(spoilt())
def test_two_runs_give_the_same(bench: Bench, case: Case) -> None:
    bench.lay(case.files)
    first = place(Repo(bench.root), case.reply)
    bench.lay({})
    bench.lay(case.files)
    assert place(Repo(bench.root), case.reply) == first


@WILD
@given(spoilt())
def test_an_edit_that_is_there_already_is_refused(bench: Bench, case: Case) -> None:
    """Where it has context on both sides; without, the same lines may be wanted twice."""
    bench.lay(case.files)
    changes = place(Repo(bench.root), case.reply)
    open_ended = {"no_context", "no_context_below", "one_line_of_context"} & set(case.faults)
    if not changes or case.want != "after" or open_ended:
        return
    bench.lay({path: data for path, data in case.after.items() if data is not None})
    assert place(Repo(bench.root), case.reply) is None


def test_preview_then_apply_equals_preview_and_undo_is_the_identity(git_repo: Make) -> None:
    """Byte for byte, modes included, for every shape."""
    rng = random.Random(SEED)
    edits = list(made_edits(rng, 40))
    laid = {"shop/stock.py": SHOP, "docs/guide.md": GUIDE, "run.sh": "echo\n"}
    root = git_repo(laid)
    (root / "run.sh").chmod(0o755)
    run_git(root, "config", "user.name", "Ada")
    run_git(root, "config", "user.email", "ada@example.invalid")
    run_git(root, "commit", "-qam", "executable")
    faults = {"diff": "shifted_by_4", "v4a": "one_line_of_context", "blocks": "path_in_bold"}
    faults |= {"file": "path_in_the_info", "def": "path_in_ticks"}
    for shape in SHAPES:
        case = one_case(rng, edits, (faults[shape],), shape)
        before = whole(root)
        verdict = preview(Repo(root), case.reply)
        assert verdict.ok, verdict.reason
        Branch(Repo(root)).apply(verdict, shape)
        assert whole(root) == before | meant(verdict.changes)
        Branch(Repo(root)).undo()
        assert whole(root) == before
        assert run_git(root, "status", "--porcelain") == ""


def whole(root: Path) -> dict[str, tuple[int, bytes]]:
    files = [root / path for path in run_git(root, "ls-files", "-z").split("\0") if path]
    return {str(f.relative_to(root)): (f.stat().st_mode, f.read_bytes()) for f in files}


def meant(changes: list[Change]) -> dict[str, tuple[int, bytes]]:
    return {c.path: (int(c.mode, 8), (c.after or "").encode(c.encoding)) for c in changes}
