"""Finds where the hunks of one file belong, by evidence and never by likeness.

Invariants: exact text first, then named relaxations, each told; every hunk has one place by the
text that results, or all is refused; the file's own text stays wherever no edit touches it.
"""

import difflib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator

from patches.align import BUDGET, TIERS, Items, Text, Way, alignments, margin_of
from patches.read import Hunk, smallest
from shapes import WorkbenchError, frozen, plural

# First line, the line after the last, what stands there then.
Run = tuple[int, int, tuple[str, ...]]
Margin = Callable[[str], str]

MAX_SHOWN = 160  # characters of a line
NEAR = 4  # lines from the end of a file
SEND_AGAIN = "Send the hunk again, with three unchanged lines of the file around it."


@frozen
class Placed:
    """The lines of the file that a hunk covers, and what it changes."""

    start: int
    end: int
    runs: tuple[Run, ...]
    relaxed: tuple[str, ...]


def changed(lines: list[str], runs: tuple[Run, ...] | list[Run]) -> list[str]:
    """The lines after the runs, which are in order."""
    made = list(lines)
    for start, end, new in reversed(runs):
        made[start:end] = new
    return made


def place(lines: list[str], hunks: list[Hunk], in_order: bool) -> tuple[list[Run], str]:
    """The changed runs of a file's lines, and in words why each hunk went where it did.

    `in_order` says that the order of the hunks is evidence. WorkbenchError says what does not fit.
    """
    text, told, starts = Text(lines), [], [hunk.start for hunk in hunks]
    in_order = in_order or (None not in starts and starts == sorted(set(starts)))
    found: list[list[Placed]] = []
    for number, hunk in enumerate(hunks, 1):
        try:
            found.append(_places(text, hunk))
        except WorkbenchError as error:
            raise WorkbenchError(f"hunk {number} {error.message}", error.hint) from None
    for i, (hunk, ways) in enumerate(zip(hunks, found)):
        low = max((way.end for each in found[:i] for way in each[:1]), default=0)
        high = min((each[0].start for each in found[i + 1 :] if len(each) == 1), default=len(lines))
        ties = (  # which only decide between equal places
            ways,
            [way for way in ways if not way.relaxed and way.start + 1 == hunk.start],
            [way for way in ways if hunk.heading and hunk.heading in _headings(text, way.start)],
            [way for way in ways if in_order and low <= way.start and way.end <= high],
        )
        found[i] = next((tie for tie in ties if len(tie) == 1), [])
        if not found[i]:
            places = ", ".join(str(way.start + 1) for way in ways[:9])
            why = f"hunk {i + 1} fits equally well at lines {places}."
            raise WorkbenchError(why, "Send it again with more unchanged lines around.")
        off = found[i][0].start + 1 - (hunk.start or found[i][0].start + 1)
        lower = f"{plural(abs(off), 'line')} {'lower' if off > 0 else 'higher'} than it said"
        said = f"line {found[i][0].start + 1}", *[lower] * bool(off), *found[i][0].relaxed
        told.append(", ".join(said))
    tabs = [[each for each in way.relaxed if "tabs" in each] for (way,) in found]
    for hunk, each in zip(hunks, tabs):
        if each != max(tabs) and any(mark == "+" and margin_of(new) for mark, new in hunk.lines):
            why = f"{max(tabs)[0]} in one hunk and not in another."
            raise WorkbenchError(why, "Send it again, indented as the file is.")
    return [run for (way,) in found for run in way.runs], "; ".join(told)


def _headings(text: Text, line: int) -> list[str]:
    """The lines that this one stands under: the nearest above, of less and less indentation."""
    found, width = [], len("".join(text.lines[line : line + 1]))
    for above in reversed(text.lines[:line]):
        if above.strip() and len(margin_of(above)) < width:
            width = len(margin_of(above))
            found.append(above.strip())
    return found


def _places(text: Text, hunk: Hunk) -> list[Placed]:
    """Every place that the evidence allows, at least one."""
    items = _reduced(hunk.lines)
    marks, old = {mark for mark, _ in items}, [line for mark, line in items if mark != "+"]
    if not marks & {"+", "-"} and len(hunk.open_ended) != 1:
        raise WorkbenchError("changes nothing.", "Mark the lines with + and -.")
    if (
        not text.lines
        and "-" not in marks
        and (not old or not hunk.promised or hunk.short() == (0, 0))
    ):
        return [Placed(0, 0, ((0, 0, tuple(hunk.side("+"))),), ())]
    if not old:
        raise WorkbenchError("does not say where it goes.", SEND_AGAIN)
    if _is_doubtful(hunk):
        why = "has more lines than it promises: is one of them to be removed?"
        raise WorkbenchError(why, "Send it again, with a mark on each line.")
    ways: list[tuple[Items, Way, str]] = []
    for tier in range(len(TIERS)):
        ways = ways or list(alignments(text, items, hunk, tier, 0))
    new = [(" ", line) for line in hunk.side("+")]
    is_long = sum(bool(line.strip()) for _, line in new) > 1
    is_done = not ways and is_long and any(alignments(text, new, hunk, 1, 0))
    if not is_done:
        ways = ways or list(alignments(text, items, hunk, 2, BUDGET))
    found = [each for way in ways if (each := _placed(text, *way, hunk.short() == (0, 0)))]
    if "-" in hunk.open_ended:  # it says that it is at the end
        found = [each for each in found if each.end == len(text.lines)] or found
    there = [each for each in found if _is_there(text, hunk, each)]
    sure = [each for each in found if each not in there and not _is_loose(text, each)]
    if is_done or (there and not sure):
        raise WorkbenchError("is already applied.", "There is nothing left to do for it.")
    if not sure:
        raise WorkbenchError(_why_not(text, old, bool(ways)), SEND_AGAIN)
    if len(sure) == 1:
        return sure
    texts = {tuple(changed(text.lines, each.runs)): each for each in reversed(sure)}
    return list(texts.values())[::-1]


def _reduced(lines: Items) -> Items:
    """A block that is removed and added again in part changes only the rest."""
    reduced: Items = []
    for is_edit, group in itertools.groupby(lines, lambda item: item[0] in "+-"):
        run = list(group)
        if is_edit:
            run = smallest(*([line for mark, line in run if mark == each] for each in "-+"))
        reduced += run
    return reduced


def _is_doubtful(hunk: Hunk) -> bool:
    """Whether a minus may be lost: the header promises as many old lines as there are, but fewer
    new ones; and unmarked lines stand beside lines that go, or before as few new ones, or like."""
    old, new = hunk.short()
    if old or new >= 0:
        return False
    groups = [(mark, [*run]) for mark, run in itertools.groupby(hunk.lines, lambda item: item[0])]
    for (mark, run), (after, following) in itertools.pairwise(groups):
        ratios = (difflib.SequenceMatcher(None, run[-1][1], line).ratio() for _, line in following)
        if "-" in (mark, after) and "+" not in (mark, after):
            return True
        if after == "+" != mark != "-" and (len(following) <= -new or max(ratios) > 0.5):
            return True
    return False


def _placed(text: Text, items: Items, way: Way, relaxed: str, is_counted: bool) -> Placed | None:
    """The changes of a hunk whose lines stand there; None where that does not say all."""
    matched = [at for _, at in way if at is not None]
    margin, shifted = _indentation(text, items, way, is_counted)
    if not margin:
        return None
    runs, number = [], 0
    for is_edit, group in itertools.groupby(zip(way, items), lambda pair: pair[0][0] in "+-"):
        run = list(group)
        there = [at for (_, at), _ in run if at is not None]
        new = [line for (mark, _), (_, line) in run if mark == "+"]
        before = way[number - 1][1] if number else matched[0] - 1
        number += len(run)
        if not is_edit:
            continue
        first = there[0] if there else before
        after = way[number][1] if number < len(way) else (there[-1] if there else first) + 1
        if not there and (before is None or after is None):
            return None  # next to an invented line
        start = there[0] if there else before + 1
        end = there[-1] + 1 if there else start
        is_gap = before not in (None, start - 1) or after not in (None, end)
        if end - start != len(there) or (new and is_gap):
            return None  # a line of the file is passed over where the edit is
        if relaxed:  # line ends are the file's own: the neighbour's
            crlf = "\r" * text.lines[max(start - 1, 0)].endswith("\r")
            new = [_shifted(margin, line).rstrip("\r") + crlf for line in new]
        runs.append((start, end, tuple(new)))
    told = tuple(filter(None, [relaxed, shifted]))
    return Placed(matched[0], matched[-1] + 1, tuple(runs), told)


def _indentation(text: Text, items: Items, way: Way, is_counted: bool) -> tuple[Margin | None, str]:
    """How the margin of an added line becomes the file's, and that in words; None where the lines
    of the hunk do not agree on it."""
    pairs, lost, kept = [], [], False
    for number, ((_, line), (mark, at)) in enumerate(zip(items, way)):
        if at is None or not line.strip():
            continue
        was, real = margin_of(line), margin_of(text.lines[at])
        is_short = len(real) == len(was) + 1 and real.endswith(was)
        if mark != "-" and (items[number][0] == "?" or is_short):
            lost.append(number)
        else:
            kept = kept or mark != "-"
            pairs.append((was, real))
    beside = (mark for number in lost for mark, _ in items[max(number - 1, 0) : number + 2])
    if kept and not is_counted and any(mark in "+-" for mark in beside):
        return None, ""  # it may have lost a mark that was no space
    for shift, told in _shifts(pairs):
        if all(shift(was) == real for was, real in pairs):
            return shift, told or "leading spaces lost" * bool(lost)
    return (None if any(mark == "+" for mark, _ in way) else str), ""


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


def _is_there(text: Text, hunk: Hunk, place: Placed) -> bool:
    """Whether lines that a hunk adds at its end or its beginning stand there already. Without
    unchanged lines on that side a hunk would be at the end or the beginning of its file."""
    new, keys = [line.rstrip() for line in hunk.side("+")], text.keys[1]
    after, before = keys[place.start :][: len(new)], keys[: place.end][-len(new) :]
    at_end = hunk.lines[-1][0] == "+" and place.end < len(keys)
    at_start = hunk.lines[0][0] == "+" and place.start > 0
    return bool(new) and ((at_end and after == new) or (at_start and before == new))


def _is_loose(text: Text, place: Placed) -> bool:
    """Whether it adds at its end, near the end of the file, or so at the beginning: a diff leaves
    out unchanged lines there only, so one may be missing."""
    spots = {start for start, end, _ in place.runs if start == end}
    at_end = place.end in spots and 0 < len(text.lines) - place.end < NEAR
    return at_end or (place.start in spots and 0 < place.start < NEAR)


def _why_not(text: Text, old: list[str], is_there: bool) -> str:
    """What was looked for, and what there is instead."""
    if is_there:
        return "fits, but its lines do not agree on the indentation, or on where the new ones go."
    keys, places = [TIERS[2][1](line) for line in old], text.where[2]
    votes = Counter(at - i for i, key in enumerate(keys) if key for at in places.get(key, ())[:50])
    shown = [line[:MAX_SHOWN] for line in old]
    if not votes:
        near = "".join(difflib.get_close_matches(old[0], text.lines, 1))[:MAX_SHOWN]
        return f"is not in the file: no line is {shown[0]!r}. The nearest is {near!r}."
    at = max(votes.most_common(1)[0][0], 0)
    real = [*text.lines[at : at + len(old)], *[""] * len(old)]
    first = next((i for i, key in enumerate(keys) if TIERS[2][1](real[i]) != key), 0)
    where = f"{shown[first]!r} where line {at + first + 1} is {real[first][:MAX_SHOWN]!r}"
    there = "\n".join(f"{at + i + 1:5} {real[i][:MAX_SHOWN]}" for i in range(min(len(old), 12)))
    return f"does not fit: it has {where}.\nThe nearest lines of the file:\n{there}\n"
