"""The review card: a proposed edit hunk by hunk, and all that can be done about it.

Pure functions of stored rows. Knows nothing of how an edit is placed or checked. Invariants: what
is shown as taken is what Apply is bound to, and no text of it is live or invisible.
"""

import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import groupby
from sqlite3 import Row

from fasthtml import components as c
from fasthtml.core import FT

from web.desk import ACTS, PARTS, Desk
from web.hunks import Part, shown
from web.markdown import code_html, source_url

BADGES = {"open": "proposed", "waking": "waking the new body …", "failed": "rolled back"}
COLOURED = 150_000  # characters of a diff: a longer one has neither colours nor marks
MAX_WORDS = 200  # of two lines, for marks
WORD = re.compile(r"<[^>]+>|&[^;]+;|\w+|\s+|.")  # or a tag


def ReviewCard(desk: Desk, row: Row) -> FT:
    """An edit and what can be done with it. Every button is bound to the diff that is shown."""
    status, verdict, number = row["status"], desk.discussions.verdict(row), row["id"]
    parts, acts = shown(row, verdict), ACTS.get(status, ())
    if status == "applied" and desk.repo.head() != row["commit_sha"]:
        acts = ()  # only the newest change can be taken back or kept

    def post(act: str, start: int = 0, stop: int = 0) -> dict[str, object]:
        return {"hx_post": f"/proposal/{number}/{act}", "hx_vals": {"start": start, "stop": stop}}

    def Act(act: str, text: str = "", **more: str | None) -> FT:
        return c.Button(text or act.replace("_", " ").capitalize(), **post(act), **more)

    def Box(label: object, checked: bool, act: str, *where: int) -> FT:
        name = "-".join(map(str, (act, number, *where)))  # keeps the focus
        box = c.Input(type="checkbox", checked=checked, id=name, **post(act, *where))
        return c.Label(box if "edit" in acts else "", label)

    def Editor(title: str, text: str, at: int = 0) -> FT | str:
        area = c.Textarea(text, name="text", spellcheck="false", aria_label="The edit")
        form = c.Form(area, c.Button("Save"), **post("edit", at, at + 1))
        # what is typed stays as long as the diff does
        keep = {"id": f"e{number}-{at}-{row['sha'][:8]}", "hx_preserve": True}
        return c.Details(c.Summary(title), form, **keep) if "edit" in acts else ""

    head, checks = [c.Span(BADGES.get(status, status), cls=f"badge {status}")], {}
    for note in verdict.notes:
        checks.setdefault(note.check, []).append(note)
    for check, notes in sorted(checks.items()):
        kind = "fine" if all(note.ok for note in notes) else "warn"
        told = c.P("\n".join(note.text for note in notes), cls="plain")
        head.append(c.Details(c.Summary(check), told, cls=f"badge {kind}"))
    why = row["error"] or verdict.reason
    body = [c.Pre(why, cls="reason")] if why else []
    view = "side" if desk.settings.get("side_by_side") else ""
    if parts:
        copy = c.Button("Copy", cls="copy", data_from=f"/proposal/{number}/diff")
        head.append(c.Div(Act("side_by_side", "Unified" if view else ""), copy, cls="row"))
    else:
        body.append(Editor("What was proposed", row["edit"]))

    coloured = sum(len(part.body) for part in parts) < COLOURED
    for _, group in groupby(enumerate(parts), lambda numbered: numbered[1].head):
        hunks = list(group)
        path, more = hunks[0][1].file()
        link = c.Span(c.A(path, href=source_url(path)), " ", more)
        taken, end = any(part.taken for _, part in hunks), hunks[-1][0] + 1
        body.append(c.Header(Box(link, taken, "toggle", hunks[0][0], end), cls="file"))
        for at, part in hunks:
            if part.body:
                start, _, title = part.starts()
                box = Box(title or f"line {start}", part.taken, "toggle", at, at + 1)
                bar = c.Header(box, Editor("Edit", part.body, at))
                lines = c.NotStr(_lines(path if coloured else "", part.body))
                code = c.Div(lines, cls=f"source diff {view}")
                body.append(c.Section(bar, code, cls="hunk" if part.taken else "hunk out"))

    foot = []
    if number in desk.tests:
        progress = c.Span("starting …", id=f"m{row['message']}-phase")
        foot.append(c.Div(progress, Act("stop"), cls="tests"))
    sure = "".join(f"{note.text}\n" for note in checks.get("asks twice", ()))
    for act in acts:
        twice = f"{sure}Apply all the same?" if sure and act == "apply" else None
        if act not in PARTS:
            foot.append(Act(act, hx_confirm=twice))
    if "reject" in acts:
        why = {"name": "why", "placeholder": "Reason, for the model", "aria_label": "Reason"}
        foot.append(c.Input(id=f"w{number}", hx_preserve=True, **why))
    if status == "refused":
        on = bool(desk.settings.get("automatic"))
        foot.append(Box("By itself, up to three times", on, "automatic"))
    foot = c.Footer(*foot, hx_include="closest footer")
    how = {"hx_vals": {"sha": row["sha"]}, "hx_sync": "this:drop"}
    return c.Section(c.Header(*head), *body, foot, id=f"p{number}", cls=f"card {status}", **how)


@lru_cache(1024)  # a card is shown again after each click on it
def _lines(path: str, hunk: str) -> str:
    """Each side is coloured in one go; without a path, neither colours nor changed words."""
    hunk = hunk.replace("\r\n", "\n").replace("\n\\ No newline at end of file", "⟨no newline⟩")
    # what cannot be seen, or turns the direction of text, is spelled out
    hunk = "".join(x if x.isprintable() or x in "\n\t" else f"⟨{ord(x):X}⟩" for x in hunk)
    lines, html = hunk.removesuffix("\n").split("\n")[1:], ""

    def side(start: int, other: str) -> Iterator[list]:
        text = "\n".join(line[1:] for line in lines if line[:1] != other)
        return map(list, enumerate(code_html(text, filename=path).split("\n"), start))

    old, new = map(side, Part("", hunk).starts()[:2], "+-")
    for changed, run in groupby(lines, lambda line: line[:1] in ("+", "-")):
        signs = [line[:1] for line in run]
        gone = [next(old) for sign in signs if sign != "+"]
        come = [next(new) for sign in signs if sign != "-"]
        if changed and path:
            for one, other in zip(gone, come):
                one[1], other[1] = _marked(one[1], other[1])
        rows = [("del", *row) for row in gone if changed]
        rows += [("add" if changed else "", *row) for row in come]
        rows = (f'<p class="{kind}" data-n="{n}">{line}</p>' for kind, n, line in rows)
        html += f"<div>{''.join(rows)}</div>"
    return html


def _marked(*pair: str) -> Iterable[str]:
    """Both lines, with what differs marked where they are much alike."""
    old, new = map(WORD.findall, pair)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if len(old) + len(new) > MAX_WORDS or matcher.ratio() < 0.5:
        return pair
    for what, *ends in matcher.get_opcodes():
        for words, span in ((old, slice(*ends[:2])), (new, slice(*ends[2:]))):
            if what != "equal":
                words[span] = [x if x[0] == "<" else f"<mark>{x}</mark>" for x in words[span]]
    return map("".join, (old, new))
