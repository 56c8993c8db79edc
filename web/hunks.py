"""A canonical git diff taken apart into hunks, and joined again from some of them.

Knows nothing of pages or repositories. Invariant: nothing is lost: all parts joined are the diff.
"""

import re
from collections.abc import Iterable
from itertools import groupby
from sqlite3 import Row
from typing import NamedTuple

from shapes import Verdict

STARTS = re.compile(r"@@ -(\d+)[,\d]* \+(\d+)[,\d]* @@ ?(.*)")


class Part(NamedTuple):
    """One hunk, or a file that is changed without any."""

    head: str  # git's lines about the file
    body: str
    taken: bool = True

    def starts(self) -> tuple[int, int, str]:
        """The old and the new number of its first line, and what it is in."""
        found = STARTS.match(self.body)  # a person may have edited it
        return (int(found[1]), int(found[2]), found[3]) if found else (1, 1, "")

    def file(self) -> tuple[str, str]:
        """Its path, and what else happens to the file."""
        name, *more = self.head.splitlines()
        more = (line for line in more if line[:3] not in ("---", "+++"))
        return re.sub(r'.* "?b/|"$', "", name), ", ".join(more)


def split(diff: str, taken: bool = True) -> list[Part]:
    """The parts of a diff; none of a text that is more than a diff."""
    parts = []
    prose, *files = re.split(r"^(?=diff --git )", diff, flags=re.M)
    for file in files * (not prose):
        head, *hunks = re.split(r"^(?=@@ )", file, flags=re.M)
        parts += [Part(head, hunk, taken) for hunk in hunks or [""]]
    return parts


def join(parts: Iterable[Part]) -> str:
    files = groupby(parts, lambda part: part.head)
    return "".join(head + "".join(part.body for part in hunks) for head, hunks in files)


def shown(row: Row, verdict: Verdict) -> list[Part]:
    """What a proposal's card shows: exactly what would be applied, and what is left out of it."""
    parts = split(verdict.diff or row["edit"]) + split(row["left_out"], taken=False)
    return sorted(parts, key=lambda part: (part.head, part.starts()))
