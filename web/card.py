"""The review card: a proposed edit hunk by hunk, and all that can be done about it.

Pure functions of stored rows. Knows nothing of how an edit is placed or checked. Invariants: what
is shown as taken is what Apply is bound to, and no text of it is live or invisible.
"""

import json
import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from functools import lru_cache
from html import escape
from itertools import count, groupby, islice
from sqlite3 import Row

from fasthtml import components as c
from fasthtml.core import FT

from web.desk import BUTTONS, Desk
from web.hunks import Part, shown
from web.markdown import code_html, source_url

BADGES = {"open": "proposed", "waking": "waking the new body …", "failed": "rolled back"}
MAX_LINES = 3_000  # of a diff, for colours and for changed words
MAX_WORDS = 100  # of a line, for changed words
Line = tuple[int, str]  # its number, its HTML
WORD = re.compile(r"<[^>]+>|&[^;]+;|\w+|\s+|.")  # or a tag


def ReviewCard(desk: Desk, row: Row) -> FT:
    """An edit and what can be done with it. Every button is bound to the diff that is shown."""
    status, verdict, number = row["status"], desk.discussions.verdict(row), row["id"]
    parts = shown(row, verdict)
    acts = BUTTONS.get(status, {})
    is_open = "dismiss" in acts
    side = bool(desk.settings.get("side_by_side"))
    if status == "applied" and desk.repo.head() != row["commit_sha"]:
        acts = {}  # only the newest change can be taken back or kept

    def Act(act: str, text: str, **more: str) -> FT:
        return c.Button(text, type="button", **_post(number, act), **more)

    def Box(first: int, last: int, *label: object) -> FT:
        """Takes parts in, or leaves them out."""
        taken = any(part.taken for part in parts[first : last + 1])
        how = _post(number, "leave" if taken else "take", first=first, last=last)
        box = c.Input(type="checkbox", checked=taken, id=f"p{number}-{first}-{last}", **how)
        return c.Label(box if is_open else "", *label)

    def Editor(title: str, text: str, part: int = 0) -> FT | str:
        area = c.Textarea(text, name="text", spellcheck="false", aria_label="The edit")
        form = c.Form(area, c.Button("Save"), **_post(number, "edit", first=part, last=part))
        # what is typed stays as long as the diff does
        keep = {"id": f"e{number}-{part}-{row['sha'][:8]}", "hx_preserve": True}
        return c.Details(c.Summary(title), form, **keep) if is_open else ""

    where = f"{row['branch']} {row['commit_sha'] or ''}"
    head = [c.Span(BADGES.get(status, status), title=where, cls=f"badge {status}")]
    by_check = sorted(verdict.notes, key=lambda note: note.check)
    for check, notes in groupby(by_check, lambda note: note.check):
        notes = list(notes)
        kind = "fine" if all(note.ok for note in notes) else "warn"
        told = c.P("\n".join(note.text for note in notes), cls="plain")
        head.append(c.Details(c.Summary(check), told, cls=f"badge {kind}"))
    if parts:
        view = Act("side_by_side", "Unified" if side else "Side by side")
        copy = c.Button("Copy", cls="copy", data_from=f"/proposal/{number}/diff")
        head.append(c.Div(view, copy, cls="row"))
    why = row["error"] or verdict.reason
    body = [c.Pre(why, cls="reason")] if why else []
    size = sum(part.body.count("\n") for part in parts)
    if not size:
        body.append(Editor("What was proposed", row["edit"]))

    for about, group in groupby(enumerate(parts), lambda numbered: numbered[1].head):
        hunks = list(group)
        first, last = hunks[0][0], hunks[-1][0]
        name, *more = about.split("\n")
        path = re.sub(r'.* "?b/|"$', "", name)
        more = ", ".join(line for line in more if line[:3] not in ("---", "+++", ""))
        link = c.A(path, href=source_url(path))
        body.append(c.Header(Box(first, last, link, " ", more), cls="file"))
        for at, part in hunks:
            if part.body:
                start, _, title = part.starts()
                title = title or f"line {start}"
                title = Box(at, at, title) if first < last else c.Span(title)
                bar = c.Header(title, Editor("Edit", part.body, at))
                lines = c.NotStr(_lines(path if size <= MAX_LINES else "", part.body))
                code = c.Div(lines, cls="source diff side" if side else "source diff")
                body.append(c.Section(bar, code, cls="hunk" if part.taken else "hunk out"))

    foot = []
    if number in desk.tests:
        progress = c.Span("starting …", id=f"m{row['message']}-phase")
        foot.append(c.Div(progress, Act("stop", "Stop"), cls="tests"))
    sure = "\n".join(note.text for note in verdict.notes if note.check == "asks twice")
    for act, text in acts.items():
        if act == "dismiss":
            why = {"name": "why", "placeholder": "Reason, for the model", "aria_label": "Reason"}
            foot.append(c.Input(id=f"w{number}", hx_preserve=True, **why))
        twice = {"hx_confirm": f"{sure}\nApply all the same?"} if act == "apply" and sure else {}
        foot.append(Act(act, text, **twice))
    if status == "refused":
        on = bool(desk.settings.get("automatic"))
        box = c.Input(type="checkbox", checked=on, **_post(number, "automatic"))
        foot.append(c.Label(box, "By itself, up to three times"))
    foot = c.Form(*foot, **_post(number, "dismiss"))
    how = {"hx_vals": json.dumps({"sha": row["sha"]}), "hx_sync": "this:drop"}
    return c.Article(c.Header(*head), *body, foot, id=f"p{number}", cls=f"card {status}", **how)


def _post(number: int, act: str, **values: int) -> dict[str, str]:
    more = {"hx_vals": json.dumps(values)} if values else {}  # htmx adds those of the card
    return {"hx_post": f"/proposal/{number}/{act}", **more}


@lru_cache(1024)  # a card is shown again after each click on it
def _lines(path: str, hunk: str) -> str:
    """Each side is coloured in one go; without a path, neither colours nor changed words."""
    hunk = hunk.replace("\r\n", "\n").replace("\n\\ No newline at end of file", "⟨no newline⟩")
    # what cannot be seen, or turns the direction of text, is spelled out
    hunk = "".join(x if x.isprintable() or x in "\n\t" else f"⟨{ord(x):X}⟩" for x in hunk)
    lines = hunk.removesuffix("\n").split("\n")[1:]
    olds, news = (
        zip(count(start), _coloured(path, [line[1:] for line in lines if line[:1] != other]))
        for start, other in zip(Part("", hunk).starts(), "+-")
    )
    html = ""
    for kept, run in groupby(lines, lambda line: line[:1] not in ("+", "-")):
        marks = [line[:1] for line in run]
        gone = list(islice(olds, sum(mark != "+" for mark in marks)))
        come = list(islice(news, sum(mark != "-" for mark in marks)))
        if kept:
            html += "".join(_line("", old[0], *new) for old, new in zip(gone, come))
            continue
        for at, pair in enumerate(zip(gone, come)):
            if path:
                gone[at], come[at] = _words(*pair)
        left = "".join(_line("del", old, "", text) for old, text in gone)
        right = "".join(_line("add", "", new, text) for new, text in come)
        html += f"<div class=change><div>{left}</div><div>{right}</div></div>"
    return html


def _line(kind: str, old: int | str, new: int | str, html: str) -> str:
    return f'<p class="{kind}" data-n="{old:>5} {new:>5} ">{html}</p>'


def _coloured(path: str, lines: list[str]) -> list[str]:
    html = code_html("".join(f"{line}\n" for line in lines), filename=path).split("\n")[:-1]
    return html if len(html) == len(lines) else [escape(line) for line in lines]


def _words(*pair: Line) -> Iterable[Line]:
    """The two lines, with what differs marked where they are much alike."""
    words = [WORD.findall(html) for _, html in pair]
    matcher = SequenceMatcher(None, *words, autojunk=False)
    if max(map(len, words)) > MAX_WORDS or matcher.ratio() < 0.5:
        return pair
    marked = ["", ""]
    for what, *ends in matcher.get_opcodes():
        for side, (start, end) in enumerate((ends[:2], ends[2:])):
            for word in words[side][start:end]:
                plain = what == "equal" or word[0] == "<"
                marked[side] += word if plain else f"<mark>{word}</mark>"
    return zip((number for number, _ in pair), marked)
