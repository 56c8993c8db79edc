"""How long a review card takes to make on the server, against plain difflib.HtmlDiff.

    python -m benchmarks.card

Lines of a long Python file are changed in runs of 5 or of 100, each a hunk with its context.
`first` is with empty caches, `again` what a click on a card costs. CPU seconds, medians of 5.
HtmlDiff takes minutes for runs of 100 lines that all differ: it is left out there.
"""

import difflib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from sqlite3 import Row
from types import SimpleNamespace

from fasthtml.core import to_xml

from chat import Discussions
from shapes import Note, Verdict
from state import State
from web import card

RUNS = 5


def lines(changed: int, run: int, word: str) -> Iterator[str]:
    """A file; after each run of changed lines stand twenty that stay."""
    for n in range(changed // 2 // run * (run + 20)):
        what = word if n % (run + 20) < run else "same"
        yield f"    result_{n} = compute(first={n}, second='{what}')  # step {n % 7}\n"


def seconds(act: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    taken = []
    for _ in range(RUNS):
        before()
        begun = time.process_time()
        act()
        taken.append(time.process_time() - begun)
    return statistics.median(taken)


def main() -> None:
    print(f"Python {sys.version.split()[0]}; medians of {RUNS}")
    columns = ("changed lines", "in runs of", "view", "first s", "again s", "HTML kB", "HtmlDiff s")
    print(" ".join(f"{name:>13}" for name in columns))
    for changed, run in ((100, 5), (1_000, 5), (5_000, 5), (5_000, 100)):
        old, new = (list(lines(changed, run, word)) for word in ("one", "two"))
        diff = "diff --git a/long.py b/long.py\n" + "".join(
            difflib.unified_diff(old, new, "a/long.py", "b/long.py")
        )
        table = partial(difflib.HtmlDiff().make_table, old, new, context=True)
        plain = seconds(table) if run < 100 else "-"
        verdict = Verdict(True, "", (), [Note("placed", True, "long.py: line 1")], diff, "diff")
        with tempfile.TemporaryDirectory() as folder:
            discussions = Discussions(State(Path(folder)))
            message = discussions.add(discussions.start(), "assistant", "")
            row = discussions.proposal(discussions.propose(message, diff, verdict))
            for side in (False, True):
                settings = {"side_by_side": side}
                desk = SimpleNamespace(discussions=discussions, settings=settings, tests={})
                make = partial(html, desk, row)
                first, again = seconds(make, card._lines.cache_clear), seconds(make)
                view = "side by side" if side else "unified"
                told = (changed, run, view, first, again, len(make()) // 1000, plain)
                print(" ".join(f"{x:13.3f}" if x.__class__ is float else f"{x:>13}" for x in told))


def html(desk: SimpleNamespace, row: Row) -> str:
    return to_xml(card.ReviewCard(desk, row), indent=False)


if __name__ == "__main__":
    main()
