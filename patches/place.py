"""Finds where the hunks of one file belong, by evidence and never by likeness.

A hunk's old lines must stand in the file one after the other: as they are, then with other white
space, then with lines of context mended by name. Invariants: a line that is removed is in the file;
what is added stands beside a line that is there; every hunk has one place by the text that results,
or all is refused; the file's own text stays wherever no edit touches it.
"""

import difflib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache

from patches.read import Hunk, smallest
from shapes import WorkbenchError, frozen, plural

Items = list[tuple[str, str]]  # (mark, line); "~" stands for any lines, "|" for none
# First line, the line after the last, what stands there then.
Run = tuple[int, int, tuple[str, ...]]
Margin = Callable[[str], str]


def _bare(line: str) -> str:
    return "".join(line.split())


# What is told, how lines are compared, and how many of the file's may be left out of the context.
TIERS: tuple[tuple[str, Callable[[str], str], int], ...] = (
    ("", str, 0),
    ("white space at line ends differs", str.rstrip, 0),
    ("white space differs", _bare, 0),
    ("unchanged lines differ", lambda line: re.sub("[\"'`]", "'", _bare(line)), 4),
)
ALREADY = "is already applied.", "There is nothing left to do for it."
MAX_WAYS, MAX_SHOWN = 1000, 160  # characters of a line
SEND_AGAIN = "Send the hunk again, with three unchanged lines of the file around it."
COMMENT = re.compile(r"\s*(#|//|/\*|\*|<!--|--\s|;)")
STANDS_FOR = r"(existing|unchanged|the rest|rest of|remaining|omitted|same as|as before)\b"
ELISION = re.compile(  # a line that stands for lines of the file
    rf"\s*(#|//|/\*|<!--|--|;)?\W*(\.\.\.|…)\W*($|[\w ]*{STANDS_FOR})"
    rf"|\s*(#|//|/\*|<!--|--|;)(.*(\.\.\.|…)\W*$|\W*[\w ]{{0,9}}\b{STANDS_FOR})",
    re.I,
)


@frozen
class Placed:
    """The lines of the file that a hunk covers, and what it changes."""

    start: int
    end: int
    runs: tuple[Run, ...]
    relaxed: tuple[str, ...]


class Text:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.index = cache(self._index)

    def _index(self, tier: int) -> tuple[list[str], dict[str, list[int]]]:
        """The lines as a tier compares them, and where each of them stands."""
        keys, where = [TIERS[tier][1](line) for line in self.lines], defaultdict(list)
        for number, key in enumerate(keys):
            where[key].append(number)
        return keys, dict(where)

    def ways(self, items: Items, tier: int) -> list[list[int]]:
        """Where the old lines can stand in the file, one after the other."""
        (keys, where), (_, key, slack) = self.index(tier), TIERS[tier]
        old = [(i, key(line)) for i, (mark, line) in enumerate(items) if mark in " -"]
        ways = [(at, slack, None) for at in where.get(old[0][1], ())] if old else []
        for (i, _), (j, wanted) in itertools.pairwise(old):
            marks, found = [mark for mark, _ in items[i : j + 1]], []
            for way in ways:
                here, left, _ = way
                if "~" in marks:
                    found += [(at, left, way) for at in where.get(wanted, ()) if at > here]
                    continue
                for at in range(here + 1, len(keys)):
                    if keys[at] == wanted:
                        found.append((at, left, way))
                    left -= bool(keys[at])
                    is_run = not keys[here] and not keys[at]  # of blank lines: stays together
                    if left < 0 or not slack or is_run or marks != [" ", " "]:
                        break
            ways = found[:MAX_WAYS]
        return [list(_followed(way))[::-1] for way in ways]


def _followed(way: tuple | None) -> Iterator[int]:
    while way:
        yield way[0]
        way = way[2]


def changed(lines: list[str], runs: tuple[Run, ...] | list[Run]) -> list[str]:
    """The lines after the runs, which are in order."""
    made = list(lines)
    for start, end, new in reversed(runs):
        made[start:end] = new
    return made


def place(lines: list[str], hunks: list[Hunk]) -> tuple[list[Run], str]:
    """The changed runs of a file's lines, and in words why each hunk went where it did.

    WorkbenchError says what does not fit.
    """
    text, told, runs = Text(lines), [], []
    for number, hunk in enumerate(hunks, 1):
        try:
            way = _place(text, hunk)
        except WorkbenchError as error:
            raise WorkbenchError(f"hunk {number} {error.message}", error.hint) from None
        off = way.start + 1 - (hunk.start or way.start + 1)
        lower = f"{plural(abs(off), 'line')} {'lower' if off > 0 else 'higher'} than it said"
        told.append(", ".join([f"line {way.start + 1}", *[lower] * bool(off), *way.relaxed]))
        runs += way.runs
    return runs, "; ".join(told)


def _place(text: Text, hunk: Hunk) -> Placed:
    """The one place that the evidence allows."""
    items: Items = []
    for is_edit, group in itertools.groupby(hunk.lines, lambda item: item[0] in "+-"):
        run = list(group)  # what is removed and added again stays
        old, new = ([line for mark, line in run if mark != other] for other in "+-")
        items += smallest(old, new) if is_edit else [(" ", line) for _, line in run]
    old, new = hunk.side("-"), hunk.side("+")
    if old == new and len(hunk.open_ended) != 1:
        raise WorkbenchError("changes nothing.", "Mark the lines with + and -.")
    if not text.lines and not any(mark == "-" or hunk.promised for mark, _ in items if mark != "+"):
        return Placed(0, 0, ((0, 0, tuple(new)),), ())
    if not old:
        raise WorkbenchError("does not say where it goes.", SEND_AGAIN)
    if hunk.short() == (0, -1):
        why = "has more lines than it promises: is one of them to be removed?"
        raise WorkbenchError(why, "Send it again, with a mark on each line.")
    after, ways, places = [(" ", line) for line in new], [], []
    for tier, (relaxed, _, slack) in enumerate(TIERS):
        if slack and sum(map(bool, map(str.strip, new))) > 1 and text.ways(after, 1):
            raise WorkbenchError(*ALREADY)
        mended = _mended(text, items) if slack else items
        ways = text.ways(mended, tier)
        if ways:
            found = (_placed(text, hunk, mended, way, relaxed) for way in ways)
            places = [each for each in found if each]
            break
    if "-" in hunk.open_ended:  # it says that it is at the end
        places = [each for each in places if each.end == len(text.lines)] or places
    there = [(way[0], way[-1] + 1) for way in text.ways(after, min(tier, 1))]
    starts = {start for start, _ in there if items[-1][0] == "+"}
    ends = {end for _, end in there if items[0][0] == "+"}
    left = [each for each in places if each.start not in starts and each.end not in ends]
    if places and not left:
        raise WorkbenchError(*ALREADY)
    if not left:
        why = "fits, but its lines do not agree on the indentation, or on where new ones go."
        raise WorkbenchError(why if ways else _why_not(text, old), SEND_AGAIN)
    if len(left) > 1:
        texts = {tuple(changed(text.lines, each.runs)): each for each in reversed(left)}
        left = list(texts.values())[::-1]
    numbered = [each for each in left if tier < 2 and each.start + 1 == hunk.start]
    under = [each for each in left if _is_under(text, each.start, hunk.heading)]
    for tie in (left, numbered, under):
        if len(tie) == 1:
            return tie[0]
    lines = ", ".join(str(each.start + 1) for each in left[:9])
    why = f"fits equally well at lines {lines}."
    raise WorkbenchError(why, "Send it again with more unchanged lines around.")


def _mended(text: Text, items: Items) -> Items:
    """The lines of a hunk without what models get wrong in the lines that stay: some are left out,
    some made up (blank ones, comments), one has a wrong letter, one has lost its plus."""
    where, key = text.index(3)[1], TIERS[3][1]
    added = {key(line) for mark, line in items if mark == "+"}
    words = Counter(re.findall(r"\w+", "\n".join(text.lines)))
    new_words = {w for mark, line in items if mark == "+" for w in re.findall(r"\w+", line)}
    mended: Items = []
    solid = [i for i, (mark, line) in enumerate(items) if mark != " " or line.strip()]
    for i, (mark, line) in enumerate(items):
        near = [*[k for k in solid if k < i][-1:], *[k for k in solid if k > i][:1]]
        around = [*items[:i][-1:], *items[i + 1 :][:1]]
        beside = [each for each, _ in around]
        is_new = key(line) not in where
        is_known = all(key(each) in where for _, each in around)
        if mark != " " or (not is_new and line.strip()):
            pass
        elif is_new and beside == ["+", "+"]:
            mark, line = "+", _with_column(line, items[i - 1][1], items[i + 1][1])
        elif key(line) in added:
            pass
        elif not line.strip():
            if all(items[k][0] == " " for k in near):
                continue
        elif ELISION.match(line):
            mark = "~"
        elif beside == [" ", " "] and is_known and COMMENT.match(line):
            mark = "|"
        else:
            slips = {real for real in text.lines if _mistyped(line, real, words, new_words)}
            line = slips.pop() if len(slips) == 1 else line
        mended.append((mark, line))
    return mended


def _with_column(line: str, above: str, below: str) -> str:
    """A line whose plus is lost may have lost the column as well: its neighbours tell."""
    width, beside = len(margin_of(line)), {len(margin_of(above)), len(margin_of(below))}
    return " " * (width not in beside and (width + 1 in beside or width % 2 == 1)) + line


def _mistyped(line: str, real: str, words: Counter[str], new_words: set[str]) -> bool:
    """Whether a line of context is the file's but for one letter. A word that others write too is
    no slip: it may be the new state, and then an edit is lost."""
    line, real = line.strip(), real.strip()
    slips = [i for i, (one, two) in enumerate(zip(line, real)) if one != two]
    if len(line) != len(real) or len(slips) != 1 or not (line + real)[slips[0]].isalpha():
        return False
    typed = next(w[0] for w in re.finditer(r"\w+", line) if w.start() <= slips[0] < w.end())
    return typed not in words and typed not in new_words


def _placed(text: Text, hunk: Hunk, items: Items, way: list[int], relaxed: str) -> Placed | None:
    """The changes of a hunk whose old lines stand there; None where that does not say all."""
    stand = iter(way)
    there = [next(stand) if mark in " -" else None for mark, _ in items]
    margin, shifted = _indentation(text, hunk, items, there)
    if not margin:
        return None
    runs = []
    for is_edit, group in itertools.groupby(range(len(items)), lambda i: items[i][0] in "+-"):
        spots = list(group)
        if not is_edit:
            continue
        new = [items[i][1] for i in spots if items[i][0] == "+"]
        gone = [there[i] for i in spots if there[i] is not None]
        before = there[spots[0] - 1] if spots[0] else None
        after = there[spots[-1] + 1] if spots[-1] + 1 < len(items) else None
        if not gone and before is None and after is None:
            return None
        start = gone[0] if gone else after if before is None else before + 1
        if relaxed:  # line ends are the file's own: the neighbour's
            crlf = "\r" * text.lines[max(start - 1, 0)].endswith("\r")
            new = [_shifted(margin, line).rstrip("\r") + crlf for line in new]
        runs.append((start, start + len(gone), tuple(new)))
    return Placed(way[0], way[-1] + 1, tuple(runs), tuple(filter(None, [relaxed, shifted])))


def _indentation(
    text: Text, hunk: Hunk, items: Items, there: list[int | None]
) -> tuple[Margin | None, str]:
    """How the margin of an added line becomes the file's, and that in words; None where the lines
    of the hunk do not agree on it."""
    unmarked = {line for mark, line in hunk.lines if mark == "?"}
    pairs, lost, kept = [], [], False
    for number, ((mark, line), at) in enumerate(zip(items, there)):
        if at is None or not line.strip():
            continue
        was, real = margin_of(line), margin_of(text.lines[at])
        is_short = len(real) == len(was) + 1 and real.endswith(was)
        if mark == " " and (line in unmarked or is_short):
            lost.append(number)
        else:
            kept = kept or mark == " "
            pairs.append((was, real))
    beside = (mark for number in lost for mark, _ in items[max(number - 1, 0) : number + 2])
    if kept and hunk.short() != (0, 0) and any(mark in "+-" for mark in beside):
        return None, ""  # it may have lost a mark that was no space
    for shift, told in _shifts(pairs):
        if all(shift(was) == real for was, real in pairs):
            return shift, told or "leading spaces lost" * bool(lost)
    return (None if any(mark == "+" for mark, _ in items) else str), ""


def _shifted(margin: Margin, line: str) -> str:
    return margin(margin_of(line)) + line.lstrip() if line.strip() else line


def _shifts(pairs: list[tuple[str, str]]) -> Iterator[tuple[Margin, str]]:
    yield str, ""
    was, real = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
    more, less = real.removesuffix(was), was.removesuffix(real)
    yield lambda margin: more + margin, f"indentation by {len(more)}"
    yield lambda margin: margin.removeprefix(less), f"indentation by -{len(less)}"
    for width in (4, 2, 8):
        yield lambda margin, n=width: margin.expandtabs(n), "spaces for tabs"
        yield lambda margin, n=width: margin.replace(" " * n, "\t"), "tabs for spaces"


def _is_under(text: Text, line: int, heading: str) -> bool:
    """Whether the line stands under a line that holds the heading: one of the nearest above, of
    less and less indentation."""
    width = len("".join(text.lines[line : line + 1]))
    for above in reversed(text.lines[:line] if heading else []):
        if above.strip() and len(margin_of(above)) < width:
            width = len(margin_of(above))
            if heading in above:
                return True
    return False


def margin_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _why_not(text: Text, old: list[str]) -> str:
    """What was looked for, and what there is instead."""
    where, real = text.index(2)[1], text.lines
    votes = Counter(at - i for i, line in enumerate(old) for at in where.get(_bare(line), ())[:50])
    if not votes:
        near = "".join(difflib.get_close_matches(old[0], real, 1))
        said = f"no line is {old[0][:MAX_SHOWN]!r}. The nearest is {near[:MAX_SHOWN]!r}."
        return f"is not in the file: {said}"
    at = max(votes.most_common(1)[0][0], 0)
    pairs = list(itertools.zip_longest(old, real[at : at + len(old)], fillvalue=""))
    first = next((i for i, (one, two) in enumerate(pairs) if _bare(one) != _bare(two)), 0)
    wanted, found = (line[:MAX_SHOWN] for line in pairs[first])
    shown = "".join(f"{at + i:5} {real[:MAX_SHOWN]}\n" for i, (_, real) in enumerate(pairs[:12], 1))
    where = f"{wanted!r} where line {at + first + 1} is {found!r}"
    return f"does not fit: it has {where}.\nThe nearest lines of the file:\n{shown}"
