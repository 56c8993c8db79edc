"""What is told after the pack: what has changed since, what a question needs beyond, the talk.

Knows nothing of how any of it is kept. Invariant: who has read what was shown, and then this, knows
how each file reads now.
"""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain, pairwise

from context.packing import count, one_line
from repo import Repo
from shapes import Message

Texts = dict[str, str | None]  # by path; None for a file that is named and not shown
ALIKE = 0.7  # of the words of a renamed file
SPARE_SHARE = 0.4  # of the room for talk, when old turns leave: not again at each question
WORDS_CHARS = 60  # of a question that is left out


def snapshot(repo: Repo) -> Texts:
    """Every tracked file as it is now."""
    sources = repo.index.sources()
    return {path: None if it.hidden else it.text for path, it in sources.items()}


def since(before: Texts, now: Texts) -> str:
    """How `now` differs: diffs, or the new text where a diff is no shorter; "" for not at all."""
    gone, parts = sorted(before.keys() - now.keys()), []
    for path, new in sorted(now.items()):
        old, head = before.get(path), one_line(path)
        if path in before and new == old:
            continue
        if new and gone and path not in before:
            was = max(gone, key=lambda name: _alike(before[name], new))
            if _alike(before[was], new) >= ALIKE:
                gone.remove(was)
                old, head = before[was], f"{head}, renamed from {one_line(was)}"
        told = f"===== {head}, as it is now =====\n{new}\n"
        if new is None:
            told = f"===== {head}: new, or changed; not shown =====\n"
        elif old:
            lines = difflib.unified_diff(old.split("\n"), new.split("\n"), lineterm="")
            diff = "\n".join([f"===== {head}, changed =====", *list(lines)[2:], ""])
            told = min(diff, told, key=len)
        parts.append(told)
    return "".join(parts + [f"===== {one_line(path)}: deleted =====\n" for path in gone])


def _alike(old: str | None, new: str) -> float:
    """The share of words that two texts have in common."""
    one, other = set((old or "").split()), set(new.split())
    return len(one & other) / max(len(one), len(other), 1)


def excerpts(
    repo: Repo, question: str, known: str, budget_tokens: float, hidden: Collection[str]
) -> str:
    """The best matches of a question that `known` does not hold, whole and within a budget, but
    for some files."""
    told = ""
    for place in repo.index.search(question, 8):
        more = f"===== {one_line(place.path)}, line {place.line} =====\n{place.text}\n"
        out = place.path in hidden or place.text in known
        if not out and count(told + more) <= budget_tokens:
            told += more
    return told


def size(*messages: Message) -> int:
    """In tokens, with a chat template's marks around each, generously."""
    return sum(count(message.content) + 16 for message in messages)


def talk(history: Sequence[Message], question: Message, room_tokens: float) -> list[Message]:
    """What there is room for: the first question and its answer, the newest turns and `question`.
    Old turns leave whole, a line tells of each; then there is room for some more questions."""
    starts = [at for at, message in enumerate(history) if message.role == "user"]
    turns = [history[start:end] for start, end in pairwise([*starts, len(history)])]
    first, left = [], room_tokens - size(question)
    if turns and size(*turns[0]) <= left:
        first = turns.pop(0)
        left -= size(*first)
    spare = SPARE_SHARE * left if size(*chain(*turns)) > left else 0
    kept, lines = [question], ""
    for turn in reversed(turns):
        words = " ".join(turn[0].content.split())[:WORDS_CHARS]
        line = f"(left out: {words!r} …)\n"
        if not lines and size(*turn) <= left - spare:
            kept, left = [*turn, *kept], left - size(*turn)
        elif count(line) < left - spare / 2:
            lines, left = line + lines, left - count(line)
    kept[0] = replace(kept[0], content=lines + kept[0].content)
    return [*first, *kept]
