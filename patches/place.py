"""Finds where the hunks of one file belong, by evidence and never by likeness.

A hunk's old lines must stand in the file one after the other: as they are, then with other white
space, then with unchanged lines mended by name. Invariants: a line that is removed is in the file;
what is added stands beside a line that is there; every hunk has one place by the text that results,
or all is refused; the file's own text stays wherever no edit touches it.
"""

import difflib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence

from patches.read import COMMENT, Hunk, smallest
from shapes import WorkbenchError, frozen, plural

Items = list[tuple[str, str]]  # (mark, line); a line of mark "~" stands for any lines, "|" for none
# First line, the line after the last, what stands there then.
Run = tuple[int, int, tuple[str, ...]]
Margin = Callable[[str], str]


def _bare(line: str) -> str:
    return "".join(line.split())


# What is told, how lines are compared, and how many of the file's may be passed over at a time.
TIERS: tuple[tuple[str, Callable[[str], str], int], ...] = (
    ("", str, 0),
    ("white space at line ends differs", str.rstrip, 0),
    ("white space differs", _bare, 0),
    ("unchanged lines differ", lambda line: re.sub("[\"'`]", "'", _bare(line)), 4),
)
MAX_WAYS, MAX_SHOWN = 1000, 160  # characters of a line
SEND_AGAIN = "Send the hunk again, with three unchanged lines of the file around it."
ALREADY = "is already applied.", "There is nothing left to do for it."
STANDS_FOR = r"(existing|unchanged|the rest|rest of|remaining|omitted|same as|as before)\b"
ELISION = re.compile(  # a line that stands for lines of the file
    rf"\s*(#|//|/\*|<!--|--|;)?\W*(\.\.\.|…)\W*($|[\w ]*{STANDS_FOR})"
    rf"|\s*(#|//|/\*|<!--|--|;)(.*(\.\.\.|…)\W*$|\W*[\w ]{{0,9}}\b{STANDS_FOR})",
    re.I,
)


@frozen
class Placed:
    """The lines of the file that a hunk covers, what it changes of them, and why there."""

    start: int
    end: int
    run: Run
    relaxed: str


def changed(lines: list[str], runs: Sequence[Run]) -> list[str]:
    """The lines after the runs, which are in order."""
    made = list(lines)
    for start, end, new in reversed(runs):
        made[start:end] = new
    return made


def place(lines: list[str], hunks: list[Hunk]) -> tuple[list[str], str]:
    """What the hunks make of a file's lines, and in words why each went where it did.

    WorkbenchError says what does not fit.
    """
    table, told, runs = [[*map(key, lines)] for _, key, _ in TIERS], [], set()
    for number, hunk in enumerate(hunks, 1):
        try:
            found = _place(table, hunk)
        except WorkbenchError as error:
            raise WorkbenchError(f"hunk {number} {error.message}", error.hint) from None
        off = found.start + 1 - (hunk.start or found.start + 1)
        lower = f", {plural(abs(off), 'line')} {'lower' if off > 0 else 'higher'} than it said"
        told.append(f"line {found.start + 1}{lower * bool(off)}{found.relaxed}")
        runs.add(found.run)  # the same edit twice is one
    for one, two in itertools.pairwise(sorted(runs)):
        if two[0] < one[1] or two[0] == one[0]:
            why = f"two edits change line {two[0] + 1}."
            raise WorkbenchError(why, "Send one hunk for each place.")
    return changed(lines, sorted(runs)), "; ".join(told)


def _place(table: list[list[str]], hunk: Hunk) -> Placed:
    """The one place that the evidence allows. `table` has the file's lines as each tier compares
    them."""
    lines, items = table[0], []
    for is_edit, group in itertools.groupby(hunk.lines, lambda item: item[0] in "+-"):
        run = list(group)  # what is removed and added again stays
        old, new = ([line for mark, line in run if mark != other] for other in "+-")
        items += smallest(old, new) if is_edit else [(" ", line) for _, line in run]
    old, new = hunk.side("-"), hunk.side("+")
    if old == new and len(hunk.open_ended) != 1:
        raise WorkbenchError("changes nothing.", "Mark the lines with + and -.")
    if not lines and (not old or not (hunk.promised or "-" in dict(items))):
        return Placed(0, 0, (0, 0, tuple(new)), "")
    if not old:
        raise WorkbenchError("does not say where it goes.", SEND_AGAIN)
    if _is_doubtful(hunk):
        why = "has more lines than it promises: is one of them to be removed?"
        raise WorkbenchError(why, "Send it again, with a mark on each line.")
    after, found = [(" ", line) for line in new], []
    for tier, (_, _, slack) in enumerate(TIERS):
        if slack and len([*filter(str.strip, new)]) > 1 and _ways(table, after, 1):
            raise WorkbenchError(*ALREADY)
        items = _mended(table[tier], items) if slack else items
        if ways := _ways(table, items, tier):
            found = [each for way in ways if (each := _placed(lines, hunk, items, way, tier))]
            break
    if "-" in hunk.open_ended:  # it says that it is at the end
        found = [each for each in found if each.end == len(lines)] or found
    there = _ways(table, after, min(tier, 1))
    starts = {way[0] for way in there if items[-1][0] == "+"}
    ends = {way[-1] + 1 for way in there if items[0][0] == "+"}
    left = [each for each in found if each.start not in starts and each.end not in ends]
    if found and not left:
        raise WorkbenchError(*ALREADY)
    if not left:
        why = "fits, but its lines do not agree on the indentation, or on where new ones go."
        raise WorkbenchError(why if ways else _why_not(table, old), SEND_AGAIN)
    if len(left) > 1:
        texts = {tuple(changed(lines, [each.run])): each for each in reversed(left)}
        left = list(texts.values())[::-1]
    numbered = [each for each in left if tier < 2 and each.start + 1 == hunk.start]
    if len(left) == 1 or len(numbered) == 1:
        return (numbered or left)[0]
    why = f"fits equally well at lines {', '.join(str(each.start + 1) for each in left[:9])}."
    raise WorkbenchError(why, "Send it again with more unchanged lines around.")


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


def _ways(table: list[list[str]], items: Items, tier: int) -> list[list[int]]:
    """Where the old lines can stand in the file, one after the other. Lines of the file are passed
    over only where no edit is: at an elision, and a few between two unchanged lines."""
    (_, key, slack), keys = TIERS[tier], table[tier]
    old = [(i, key(line)) for i, (mark, line) in enumerate(items) if mark in " -"]
    ways = [[at] for at, each in enumerate(keys) if old and each == old[0][1]]
    for (i, before), (j, wanted) in itertools.pairwise(old):
        marks = "".join(mark for mark, _ in items[i : j + 1])
        reach = len(keys) if "~" in marks else slack * (marks == "  ")
        ways = [
            [*way, at]
            for way in ways
            for at in range(way[-1] + 1, min(way[-1] + 2 + reach, len(keys)))
            # blank lines beside an edit stay together, or it could stand anywhere among them
            if keys[at] == wanted
            and ("~" in marks or before or keys[way[-1] + 1] or at == way[-1] + 1)
        ][:MAX_WAYS]
    return ways


def _mended(keys: list[str], items: Items) -> Items:
    """The lines of a hunk without what models get wrong in those that stay: some are left out, some
    made up (blank ones, a comment), one has lost its plus."""
    key, known, mended = TIERS[-1][1], {*keys}, []
    added = {key(line) for mark, line in items if mark == "+"}
    shape = "".join(mark if line.strip() or mark != " " else "_" for mark, line in items)
    spare = {i for run in re.finditer("(?<![-+_])_+(?![-+_])", shape) for i in range(*run.span())}
    for i, (mark, line) in enumerate(items):
        around = shape[max(i - 1, 0) : i + 2].replace("_", " ")
        is_new = mark == " " and key(line) not in known
        if is_new and around == "+ +":  # it may have lost the column as well
            mark, line = "+", " " * (len(margin_of(line)) % 2) + line
        elif is_new and key(line) not in added:  # else it is the new state: its edit is lost
            is_spare = around == "   " and key(items[i - 1][1]) in known
            mark = "~" if ELISION.match(line) else "|" if is_spare and COMMENT.match(line) else mark
        if i not in spare:
            mended.append((mark, line))
    return mended


def _placed(lines: list[str], hunk: Hunk, items: Items, way: list[int], tier: int) -> Placed | None:
    """The changes of a hunk whose old lines stand there; None where that does not say all."""
    stand = iter(way)
    there = [next(stand) if mark in " -" else None for mark, _ in items]
    margin, shifted = _indentation(lines, hunk, items, there)
    marks = "".join(mark for mark, _ in items)
    if not margin or re.search(r"(^|~)\++(~|$)", marks):
        return None
    start, end = way[0], way[-1] + 1
    here, made = start, []
    for i, (mark, line) in enumerate(items):
        at = here if there[i] is None else there[i]
        if mark == "~":
            at = next((at for at in there[i:] if at is not None), here)
        made += lines[here : at + (mark == " ")]
        here = at + (mark in " -")
        if mark == "+" and tier:  # line ends are the file's own: the neighbour's
            crlf = "\r" * lines[max(here - 1, 0)].endswith("\r")
            line = margin(margin_of(line)) + line.lstrip() if line.strip() else line
            line = line.rstrip("\r") + crlf
        made += [line] * (mark == "+")
    was = lines[start:end]
    head = _same(was, made)
    tail = _same(was[head:][::-1], made[head:][::-1])
    run = start + head, end - tail, tuple(made[head : len(made) - tail])
    told = "".join(f", {each}" for each in (TIERS[tier][0], shifted) if each)
    return Placed(start, end, run, told)


def _same(one: list[str], two: list[str]) -> int:
    """How many lines are the same at the beginning."""
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, two))
    return sum(1 for _ in pairs)


def _indentation(
    lines: list[str], hunk: Hunk, items: Items, there: list[int | None]
) -> tuple[Margin | None, str]:
    """How the margin of an added line becomes the file's, and that in words; None where the lines
    of the hunk do not agree on it."""
    unmarked = {line for mark, line in hunk.lines if mark == "?"}
    pairs, beside, kept = [], "", False
    for i, ((mark, line), at) in enumerate(zip(items, there)):
        if at is None or not line.strip():
            continue
        was, real = margin_of(line), margin_of(lines[at])
        is_short = len(real) == len(was) + 1 and real.endswith(was)
        if mark == " " and (line in unmarked or is_short):  # the space that marks it is lost
            beside += "".join(mark for mark, _ in items[max(i - 1, 0) : i + 2])
        else:
            kept = kept or mark == " "
            pairs.append((was, real))
    if kept and hunk.short() != (0, 0) and {*beside} & {"+", "-"}:
        return None, ""  # it may have lost a mark that was no space
    for shift, told in _shifts(pairs):
        if all(shift(was) == real for was, real in pairs):
            return shift, told or "leading spaces lost" * bool(beside)
    return (None if any(mark == "+" for mark, _ in items) else str), ""


def _shifts(pairs: list[tuple[str, str]]) -> Iterator[tuple[Margin, str]]:
    yield str, ""
    was, real = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
    more, less = real.removesuffix(was), was.removesuffix(real)
    yield lambda margin: more + margin, f"indentation by {len(more)}"
    yield lambda margin: margin.removeprefix(less), f"indentation by -{len(less)}"
    for width in (4, 2, 8):
        yield lambda margin, n=width: margin.expandtabs(n), "spaces for tabs"
        yield lambda margin, n=width: margin.replace(" " * n, "\t"), "tabs for spaces"


def margin_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _why_not(table: list[list[str]], old: list[str]) -> str:
    """What was looked for, and what there is instead."""
    lines, wanted = table[0], [_bare(line) for line in old]
    match = difflib.SequenceMatcher(None, table[2], wanted, autojunk=False).find_longest_match()
    if not match.size:
        near = "".join(difflib.get_close_matches(old[0], lines, 1))
        said = f"no line is {old[0][:MAX_SHOWN]!r}. The nearest is {near[:MAX_SHOWN]!r}."
        return f"is not in the file: {said}"
    at = max(match.a - match.b, 0)
    pairs = [*itertools.zip_longest(old, lines[at : at + len(old)], fillvalue="")]
    first = next((i for i, (one, two) in enumerate(pairs) if _bare(one) != _bare(two)), 0)
    said, real = (line[:MAX_SHOWN] for line in pairs[first])
    shown = "".join(f"{at + i:5} {line[:MAX_SHOWN]}\n" for i, (_, line) in enumerate(pairs[:12], 1))
    where = f"{said!r} where line {at + first + 1} is {real!r}"
    return f"does not fit: it has {where}.\nThe nearest lines of the file:\n{shown}"
