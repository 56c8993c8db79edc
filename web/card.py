"""The review card: a proposed edit hunk by hunk, and all that can be done about it.

Pure functions of stored rows. Knows nothing of how an edit is placed or checked. Invariants: what
is shown as taken is what Apply is bound to, and no text of it is live or invisible.
"""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from functools import lru_cache
from html import escape
from itertools import count, groupby
from sqlite3 import Row

from fasthtml import components as c
from fasthtml.core import FT

from web.desk import ACTS, Desk
from web.hunks import Part, shown
from web.markdown import code_html, source_url

BADGES = {"open": "proposed", "waking": "waking the new body …", "failed": "rolled back"}
BUTTONS = {  # the first one of a card stands out
    "apply": "Apply",
    "tests": "Run tests",
    "retry": "Ask for another try",
    "dismiss": "Reject",
    "undo": "Undo",
    "keep": "Keep",
    "redo": "Redo",
}
COLOURED = 150_000  # characters of a diff: longer ones have neither colours nor marks
MAX_WORDS = 200  # of two lines, for marks
WORD = re.compile(r"<[^>]+>|&[^;]+;|\w+|\s+|.")  # or a tag


def ReviewCard(desk: Desk, row: Row) -> FT:
    """An edit and what can be done with it. Every button is bound to the diff that is shown."""
    status, verdict, number = row["status"], desk.discussions.verdict(row), row["id"]
    parts, settings, acts = shown(row, verdict), desk.settings, ACTS.get(status, ())
    if status == "applied" and desk.repo.head() != row["commit_sha"]:
        acts = ()  # only the newest change can be taken back or kept

    def post(act: str, **values: int) -> dict[str, object]:
        return {"hx_post": f"/proposal/{number}/{act}", "hx_vals": values}

    def Act(act: str, text: str, **more: str) -> FT:
        return c.Button(text, **post(act), **more)

    def Box(text: object, checked: bool, act: str = "toggle", first: int = 0, last: int = 0) -> FT:
        name = f"{number}-{act}-{first}-{last}"  # keeps the focus
        box = c.Input(
            type="checkbox", checked=checked, id=name, **post(act, first=first, last=last)
        )
        return c.Label(box if "edit" in acts else "", text)

    def Editor(title: str, text: str, at: int = 0) -> FT:
        area = c.Textarea(text, name="text", spellcheck="false", aria_label="The edit")
        form = c.Form(area, c.Button("Save"), **post("edit", first=at, last=at))
        # what is typed stays as long as the diff does
        keep = {"id": f"e{number}-{at}-{row['sha'][:8]}", "hx_preserve": True}
        return c.Details(c.Summary(title), form, **keep) if "edit" in acts else ""

    where = f"{row['branch']} {row['commit_sha'] or ''}"
    head = [c.Span(BADGES.get(status, status), title=where, cls=f"badge {status}")]
    for check in sorted({note.check for note in verdict.notes}):
        notes = [note for note in verdict.notes if note.check == check]
        kind = "fine" if all(note.ok for note in notes) else "warn"
        told = c.P("\n".join(note.text for note in notes), cls="plain")
        head.append(c.Details(c.Summary(check), told, cls=f"badge {kind}"))
    why = row["error"] or verdict.reason
    body = [c.Pre(why, cls="reason")] if why else []
    view = "side" if settings.get("side_by_side") else ""
    if parts:
        copy = c.Button("Copy", cls="copy", data_from=f"/proposal/{number}/diff")
        head.append(
            c.Div(Act("side_by_side", "Unified" if view else "Side by side"), copy, cls="row")
        )
    else:
        body.append(Editor("What was proposed", row["edit"]))

    coloured = sum(len(part.body) for part in parts) < COLOURED
    for at, part in enumerate(parts):
        hunks = [each for each in parts[at:] if each.head == part.head]
        path, more = part.file()
        if not at or parts[at - 1].head != part.head:
            taken = any(each.taken for each in hunks)
            link = c.Span(c.A(path, href=source_url(path)), " ", more)
            body.append(c.Header(Box(link, taken, first=at, last=at + len(hunks) - 1), cls="file"))
        if part.body:
            start, _, title = part.starts()
            box = Box(title or f"line {start}", part.taken, first=at, last=at)
            lines = c.NotStr(_lines(path if coloured else "", part.body))
            code = c.Div(lines, cls=f"source diff {view}")
            bar = c.Header(box, Editor("Edit", part.body, at))
            body.append(c.Section(bar, code, cls="hunk" if part.taken else "hunk out"))

    foot = []
    if number in desk.tests:
        progress = c.Span("starting …", id=f"m{row['message']}-phase")
        foot.append(c.Div(progress, Act("stop", "Stop"), cls="tests"))
    sure = "\n".join(note.text for note in verdict.notes if note.check == "asks twice")
    for act, text in BUTTONS.items():
        if act in acts:
            twice = (
                {"hx_confirm": f"{sure}\nApply all the same?"} if act == "apply" and sure else {}
            )
            foot.append(Act(act, text, **twice))
    if "dismiss" in acts:
        why = {"name": "why", "placeholder": "Reason, for the model", "aria_label": "Reason"}
        foot.append(c.Input(id=f"w{number}", hx_preserve=True, **why))
    if status == "refused":
        on = bool(settings.get("automatic"))
        foot.append(Box("By itself, up to three times", on, "automatic"))
    foot = c.Footer(*foot, hx_include=f"#w{number}")
    how = {"hx_vals": {"sha": row["sha"]}, "hx_sync": "this:drop"}
    return c.Section(c.Header(*head), *body, foot, id=f"p{number}", cls=f"card {status}", **how)


@lru_cache(1024)  # a card is shown again after each click on it
def _lines(path: str, hunk: str) -> str:
    """Each side is coloured in one go; without a path, neither colours nor changed words."""
    hunk = hunk.replace("\r\n", "\n").replace("\n\\ No newline at end of file", "⟨no newline⟩")
    # what cannot be seen, or turns the direction of text, is spelled out
    hunk = "".join(x if x.isprintable() or x in "\n\t" else f"⟨{ord(x):X}⟩" for x in hunk)
    lines = hunk.removesuffix("\n").split("\n")[1:]
    old, new = (
        map(list, zip(count(start), _coloured(path, [x[1:] for x in lines if x[:1] != other])))
        for start, other in zip(Part("", hunk).starts(), "+-")
    )
    html = ""
    for changed, run in groupby(lines, lambda line: line[:1] in ("+", "-")):
        signs = [line[:1] for line in run]
        gone = [next(old) for sign in signs if sign != "+"]
        come = [next(new) for sign in signs if sign != "-"]
        for one, other in zip(gone, come):
            if changed and path:
                one[1], other[1] = _marked(one[1], other[1])
        rows = [("del", *row) for row in gone if changed]
        rows += [("add" if changed else "", *row) for row in come]
        html += "".join(
            ["<div>", *(f'<p class="{k}" data-n="{n}">{x}</p>' for k, n, x in rows), "</div>"]
        )
    return html


def _coloured(path: str, lines: list[str]) -> list[str]:
    html = code_html("".join(f"{line}\n" for line in lines), filename=path).split("\n")[:-1]
    return html if len(html) == len(lines) else [escape(line) for line in lines]


def _marked(*pair: str) -> Iterable[str]:
    """Both lines, with what differs marked where they are much alike."""
    old, new = map(WORD.findall, pair)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if len(old) + len(new) > MAX_WORDS or matcher.ratio() < 0.5:
        return pair
    for what, *ends in matcher.get_opcodes():
        for words, span in ((old, slice(*ends[:2])), (new, slice(*ends[2:]))):
            if what != "equal":
                words[span] = [w if w[0] == "<" else f"<mark>{w}</mark>" for w in words[span]]
    return map("".join, (old, new))
