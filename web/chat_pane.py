"""The chat as a person sees it: bubbles and review cards, pure functions of stored rows."""

import json
from sqlite3 import Row

from fasthtml import components as c
from fasthtml.core import FT

from chat import ASSISTANT
from patches import find
from web.desk import Desk
from web.markdown import Growing, code_block

SPEAKERS = {"user": "You", "assistant": ASSISTANT, "system": "Workbench"}
BADGES = {"open": "proposed", "waking": "waking the new body …", "failed": "rolled back"}
BUTTONS = {  # by a proposal's status; the first one of a card stands out
    "open": {"apply": "Apply", "dismiss": "Dismiss"},
    "refused": {"repair": "Ask for another try", "check": "Check again"},
    "failed": {"repair": "Ask for another try", "check": "Check again"},
    "applied": {"undo": "Undo", "keep": "Keep"},
    "undone": {"redo": "Redo"},
}


def ChatPane(desk: Desk, discussion: int) -> FT:
    rows = desk.discussions.all()
    links = (c.Li(c.A(row["title"], href=f"/discussion/{row['id']}")) for row in rows)
    title = next(row["title"] for row in rows if row["id"] == discussion)
    messages = [Bubble(desk, row) for row in desk.discussions.messages(discussion)]
    draft = c.Textarea(
        id="draft",
        rows=2,
        placeholder="Ask about the source, or ask for a change",
        aria_label="Message",
        autocomplete="off",
        autofocus=True,
        hx_preserve=True,
    )
    return c.Section(
        c.Header(
            c.Details(DiscussionTitle(title), c.Ul(*links), cls="dropdown"),
            c.Button("New", hx_post="/discussion", cls="quiet", title="Start a new discussion"),
        ),
        c.Div(*messages, id="messages", role="log", aria_label="Messages", hx_preserve=True),
        c.Form(draft, c.Button("Send"), id="ask", ws_send=True),
        c.Footer("Reconnecting …", role="status"),
        cls="chat",
        aria_label="Chat",
    )


def DiscussionTitle(title: str, **swap: str) -> FT:
    return c.Summary(title, id="discussion-title", **swap)


def Bubble(desk: Desk, row: Row, growing: Growing | None = None, **swap: str) -> FT:
    number, role, text = row["id"], row["role"], row["content"]
    proposals = desk.discussions.proposals(message=number)
    if proposals:  # the card shows the edit; around it stands what is said about it
        text = "".join(segment.text for segment in find(text) if not segment.is_edit)
    body, tail = (growing.done, growing.rest) if growing else ("", text)
    shown = c.P(text, cls="plain") if role == "user" else c.NotStr(desk.markdown.html(tail))
    facts = json.loads(row["facts"])
    foot = [row["note"]]
    if facts.get("prompt_tokens"):
        read, written = facts["prompt_tokens"], facts["reply_tokens"] or 0
        foot.append(f" {read:,} tokens read, {written:,} written")
    if row["status"] == "streaming":
        stop = c.Button("Stop", ws_send=True, hx_vals='{"stop": true}', type="button")
        foot = [c.Span("thinking …", id=f"m{number}-phase"), stop]
    return c.Article(
        c.Header(f"{SPEAKERS[role]} {row['model']}"),
        c.Div(c.NotStr(body), id=f"m{number}-body"),
        c.Div(shown, id=f"m{number}-tail"),
        *(ReviewCard(desk, proposal) for proposal in proposals),
        c.Footer(*foot),
        id=f"m{number}",
        cls=f"message {role} {row['status']}",
        data_key=row["key"] or "",
        aria_label=f"{SPEAKERS[role]} said",
        **swap,
    )


def ReviewCard(desk: Desk, row: Row) -> FT:
    """An edit and what can be done with it. Every button is bound to the diff that is shown."""
    status, verdict = row["status"], desk.discussions.verdict(row)
    acts = BUTTONS.get(status, {})
    if status == "applied" and desk.repo.head() != row["commit_sha"]:
        acts = {}  # only the newest change can be taken back or kept
    how = {"type": "button", "hx_vals": json.dumps({"sha": row["sha"]}), "hx_swap": "none"}
    buttons = [
        c.Button(
            text,
            hx_post=f"/proposal/{row['id']}/{act}",
            hx_disabled_elt="this",
            cls="" if act in ("apply", "repair") else "quiet",
            **how,
        )
        for act, text in acts.items()
    ]
    badges = [c.Span(BADGES.get(status, status), cls=f"badge {status}")]
    for check in dict.fromkeys(note.check for note in verdict.notes):
        notes = [note for note in verdict.notes if note.check == check]
        kind = "fine" if all(note.ok for note in notes) else "warn"
        told = "; ".join(note.text for note in notes)
        badges.append(c.Span(check, cls=f"badge {kind}", title=told))
    if status == "applied":
        badges.append(c.Small(f"{row['branch']} {row['commit_sha'][:12]}"))
    why = row["error"] or verdict.reason
    shown = [c.Pre(why, cls="reason")] if why else []
    if verdict.ok:
        shown.append(c.NotStr(code_block(verdict.diff, "diff")))
    else:
        edit = c.NotStr(code_block(row["edit"], "diff"))
        shown.append(c.Details(c.Summary("What was proposed"), edit))
    parts = (c.Header(*badges), *shown, c.Footer(*buttons))
    return c.Article(*parts, id=f"p{row['id']}", cls=f"card {status}")
