"""The chat as a person sees it: bubbles, pure functions of stored rows."""

import json
from sqlite3 import Row

from fasthtml import components as c
from fasthtml.core import FT

from chat import ASSISTANT
from patches import find
from web.card import ReviewCard
from web.desk import Desk

SPEAKERS = {"user": "You", "assistant": ASSISTANT, "system": "Workbench"}


def ChatPane(desk: Desk, discussion: int) -> FT:
    rows = {row["id"]: row["title"] for row in desk.discussions.all()}
    links = (c.Li(c.A(title, href=f"/discussion/{number}")) for number, title in rows.items())
    messages = (Bubble(desk, row) for row in desk.discussions.messages(discussion))
    ask = "Ask about the source, or ask for a change"
    draft = c.Textarea(
        id="draft", placeholder=ask, aria_label="Message", hx_preserve=True, autofocus=True
    )
    return c.Section(
        c.Header(
            c.Details(DiscussionTitle(rows[discussion]), c.Ul(*links), cls="dropdown"),
            c.Button("New", hx_post="/discussion", title="Start a discussion"),
        ),
        c.Div(c.Div(*messages, id="messages", role="log"), id="log", hx_preserve=True),
        c.Form(draft, c.Button("Send"), id="ask", ws_send=True),
        cls="chat",
        aria_label="Chat",
    )


def DiscussionTitle(title: str, **swap: str) -> FT:
    return c.Summary(title, id="discussion-title", **swap)


def Bubble(desk: Desk, row: Row, **swap: str) -> FT:
    number, role, text = row["id"], row["role"], row["content"]
    proposals = desk.discussions.proposals(message=number)
    if proposals:  # the card shows the edit; around it stands what is said about it
        # what is sent as a whole can be read without the card
        text = "".join(each.text for each in find(text) if each.form in ("", "file"))
    shown = c.P(text, cls="plain") if role == "user" else c.NotStr(desk.markdown.html(text))
    facts = json.loads(row["facts"])
    foot = [row["note"]]
    if facts.get("prompt_tokens"):
        read, written = facts["prompt_tokens"], facts["reply_tokens"] or 0
        foot.append(f" {read:,} tokens read, {written:,} written")
    if "request" in facts:
        foot += [" ", c.A("Exact request", href=f"/message/{number}/request")]
    if row["status"] == "streaming":
        stop = c.Button("Stop", ws_send=True, hx_vals={"stop": True})
        foot = [c.Span("thinking …", id=f"m{number}-phase"), stop]
    return c.Section(
        c.Small(f"{SPEAKERS[role]} {row['model']}"),
        c.Div(shown, id=f"m{number}-body"),
        *(ReviewCard(desk, proposal) for proposal in proposals),
        c.Small(*foot),
        id=f"m{number}",
        cls=f"message {role} {row['status']}",
        data_key=row["key"] or "",
        **swap,
    )
