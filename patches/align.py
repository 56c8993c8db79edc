"""Every way in which the lines of a hunk can stand in a file: as they are, or mended by name.

Invariant: a line that is removed is in the file.
"""

import builtins
import keyword
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cached_property

from patches.read import Hunk

Items = list[tuple[str, str]]  # (mark, line)
Way = tuple[tuple[str, int | None], ...]  # for every item its mark, and its line of the file

TIERS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("", str),
    ("white space at line ends differs", str.rstrip),
    ("white space differs", lambda line: "".join(line.split())),
)
BUDGET = 4  # repairs in one hunk
MAX_STEPS = 50_000
COMMENT = re.compile(r"\s*(#|//|/\*|\*|<!--|--\s|;)")
STANDS_FOR = r"(existing|unchanged|the rest|rest of|remaining|omitted|same as|as before)\b"
ELISION = re.compile(  # a line that stands for lines of the file
    rf"\s*(#|//|/\*|<!--|--|;)?\W*(\.\.\.|…)\W*($|[\w ]*{STANDS_FOR})"
    rf"|\s*(#|//|/\*|<!--|--|;)(.*(\.\.\.|…)\W*$|\W*[\w ]{{0,9}}\b{STANDS_FOR})",
    re.I,
)
WORD = re.compile(r"\w+")
COMMON_WORDS = {*keyword.kwlist, *dir(builtins), "self", "cls"}


class Text:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.keys = [[key(line) for line in lines] for _, key in TIERS]
        self.where: list[dict[str, list[int]]] = [defaultdict(list) for _ in TIERS]
        for index, keys in zip(self.where, self.keys):
            for number, each in enumerate(keys):
                index[each].append(number)

    @cached_property
    def words(self) -> Counter[str]:
        return Counter(word for line in self.lines for word in WORD.findall(line))


def alignments(
    text: Text, items: Items, hunk: Hunk, tier: int, budget: int
) -> Iterator[tuple[Items, Way, str]]:
    """Where the lines of a hunk stand, one after the other. A `budget` pays for repairs: a line
    of context dropped, invented (blank or a comment) or mistyped, a plus forgotten."""
    while budget and items and items[0][0] in " ?" and ELISION.match(items[0][1]):
        items = items[1:]
    relaxed, key = TIERS[tier]
    keys, where, wanted = text.keys[tier], text.where[tier], [key(line) for _, line in items]
    added = {each for (mark, _), each in zip(items, wanted) if mark == "+"}
    new_words = {word for mark, line in items if mark == "+" for word in WORD.findall(line)}
    missing, spare = hunk.short()
    plus_lost = -missing if missing <= 0 and spare == 0 else None  # None: nobody knows
    steps = MAX_STEPS

    old = [i for i, (mark, _) in enumerate(items) if mark != "+"]

    def follow(i: int, at: int, left: int, way: Way, told: tuple[str, ...]) -> Iterator[tuple]:
        nonlocal steps
        moved = not way
        while i < len(items) and steps > 0:
            steps -= 1
            mark = items[i][0]
            if mark != "+" and (at >= len(keys) or keys[at] != wanted[i]):
                break
            way += ((mark, None if mark == "+" else at),)
            at, i, moved = at + (mark != "+"), i + 1, True
        if i == len(items):
            yield way, told
        if i == len(items) or steps <= 0 or not budget:
            return
        mark, line = items[i]
        moves = [(at + 1, i, 1, (), "context dropped")] * bool(way and way[-1] != (" ", None))
        if mark != "-" and wanted[i] not in added:
            beside = [each for each, _ in items[max(i - 1, 0) : i + 2 : 2]]
            is_new = not line.strip() or wanted[i] not in where
            ahead = next((each for each in old if each > i), None)
            heres = where.get(wanted[ahead], ()) if ahead else [at]
            if ELISION.match(line) and is_new:
                moves += [
                    (here, i + 1, 0, ((" ", None),), "elided") for here in heres if here >= at
                ]
            if is_new and (plus_lost or (plus_lost is None and beside == ["+", "+"])):
                moves.append((at, i + 1, 1, (("+", None),), "+ forgotten"))
            elif moved and _is_spare(items, i, missing == spare < 0):
                moves.append((at, i + 1, 1, ((" ", None),), "invented"))
            if at < len(keys) and _mistyped(text, line, text.lines[at], new_words):
                moves.append((at + 1, i + 1, 1, ((mark, at),), "mistyped"))
        for to, number, cost, entry, said in moves:
            if cost <= left:
                yield from follow(number, to, left - cost, way + entry, (*told, said))

    solid = [i for i in old if wanted[i] or not tier]
    anchors = (
        solid[:3] if budget else sorted(solid, key=lambda i: len(where.get(wanted[i], ())))[:1]
    )
    starts = {
        number - back
        for i in anchors
        for number in where.get(wanted[i], ())
        for back in range(0 if budget else old.index(i), old.index(i) + 1)
    }
    for start in sorted(start for start in starts if start >= 0):
        for way, told in follow(0, start, budget, (), ()):
            there = [wanted[i] for i, (_, at) in enumerate(way) if at is not None]
            there = [each for each in there if each.strip("()[]{},:")]
            is_sure = len(there) > 1 or any(len(where[key]) == 1 and len(key) > 7 for key in there)
            plus = sum(mark == "+" != item[0] for item, (mark, _) in zip(items, way))
            if not budget or (is_sure and plus_lost in (None, plus)):
                fixed = [_with_plus(items, i, mark) for i, (mark, _) in enumerate(way)]
                yield fixed, way, ", ".join(dict.fromkeys([*[relaxed] * (not told), *told]))


def _is_spare(items: Items, number: int, is_extra: bool) -> bool:
    """Whether a line of context may be invented: blank and not beside a plus, or a comment that the
    header does not count, or that has lines of the file on both sides."""
    if items[number][1].strip():
        beside = {mark for mark, _ in items[max(number - 1, 0) : number + 2]}
        is_inside = 0 < number < len(items) - 1 and not beside & {"+", "-"}
        return bool(COMMENT.match(items[number][1])) and (is_extra or is_inside)
    for side in (items[number:], items[number::-1]):
        solid = (mark for mark, line in side if line.strip() or mark == "+")
        if next(solid, "") == "+":
            return False
    return True


def _with_plus(items: Items, number: int, mark: str) -> tuple[str, str]:
    """A line whose plus is lost may have lost the column as well: its neighbours tell."""
    was, line = items[number]
    width = len(margin_of(line))
    beside = {len(margin_of(each)) for _, each in items[max(number - 1, 0) : number + 2 : 2]}
    is_short = was == " " and mark == "+" and width not in beside
    return mark, " " * (is_short and (width + 1 in beside or width % 2 == 1)) + line


def _mistyped(text: Text, line: str, real: str, new_words: set[str]) -> bool:
    """Whether a line of context is the file's but for one letter, or the kind of quotes. A word
    that others write too is no slip: it may be the new state, and then an edit is lost."""
    plain, wanted = (re.sub("[\"'`]", "'", "".join(each.split())) for each in (line, real))
    typed, meant = WORD.findall(line), WORD.findall(real)
    slips = [(word, right) for word, right in zip(typed, meant) if word != right]
    if plain == wanted:
        return True
    if WORD.split(plain) != WORD.split(wanted) or len(typed) != len(meant) or len(slips) != 1:
        return False
    word, right = slips[0]
    is_known = text.words[right] > 1 or right in new_words or right in COMMON_WORDS
    # within one letter: they are the same without one letter of each
    less = [{each, *(each[:i] + each[i + 1 :] for i in range(len(each)))} for each in slips[0]]
    is_slip = (word + right).isalpha() and bool(less[0] & less[1])
    return is_known and is_slip and word not in new_words and word not in text.words


def margin_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
