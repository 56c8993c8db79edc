"""The chat as a person sees it: bubbles, review cards, and the one WebSocket that moves them.

Knows how a message looks and how it reaches every open page; knows nothing of how an answer is
made. Invariant: what the socket sends is what a reload would show.
"""

import asyncio
import json
import os
import time
from contextlib import suppress
from sqlite3 import Row
from typing import TYPE_CHECKING

from fasthtml.components import (
    A,
    Article,
    Button,
    Code,
    Details,
    Div,
    Footer,
    Header,
    Li,
    NotStr,
    P,
    Pre,
    Small,
    Span,
    Summary,
    Ul,
)
from fasthtml.core import FT, to_xml
from starlette.websockets import WebSocket, WebSocketDisconnect

from chat import ASSISTANT, Event
from patches import find
from shapes import WorkbenchError
from web.markdown import Growing, code_block

if TYPE_CHECKING:
    from web.app import Desk

SPEAKERS = {"user": "You", "assistant": ASSISTANT, "system": "Workbench"}
MAX_TEXT_CHARS = 400_000
BADGES = {
    "open": "proposed",
    "waking": "applied, waking the new body …",
    "applied": "applied",
    "refused": "refused",
    "failed": "rolled back",
    "undone": "undone",
    "dismissed": "dismissed",
}


def fragment(*parts: FT) -> str:
    """Components as HTML, without the indentation that would show in preformatted text."""
    return "".join(to_xml(part, indent=False) for part in parts)


def DiscussionMenu(desk: "Desk", discussion: int) -> FT:
    rows = desk.discussions.all()
    title = next(row["title"] for row in rows if row["id"] == discussion)
    return Header(
        Details(
            DiscussionTitle(title),
            Ul(*(Li(A(r["title"], href=f"/discussion/{r['id']}")) for r in rows)),
            cls="dropdown",
        ),
        Button("New", hx_post="/discussion", cls="quiet", title="Start a new discussion"),
        cls="discussions",
    )


def DiscussionTitle(title: str, **swap: str) -> FT:
    return Summary(title, id="discussion-title", **swap)


def Messages(desk: "Desk", discussion: int) -> list[FT]:
    return [Bubble(desk, row) for row in desk.discussions.messages(discussion)]


def Bubble(desk: "Desk", row: Row, **swap: str) -> FT:
    """One message. A reply that is still growing shows its finished blocks and its last one."""
    number, role = row["id"], row["role"]
    who = [SPEAKERS[role], *([Small(row["model"])] if row["model"] else [])]
    growing = desk.hub.growing.get(number)
    proposals = desk.discussions.proposals(number)
    if growing:
        body, tail = growing.done, desk.markdown.html(growing.rest)
    elif role == "user":
        body, tail = fragment(P(row["content"], cls="plain")), ""
    else:
        body, tail = desk.markdown.html(_prose(row["content"], bool(proposals))), ""
    parts = [
        Header(*who),
        Div(NotStr(body), id=f"m{number}-body"),
        Div(NotStr(tail), id=f"m{number}-tail"),
        *(ReviewCard(desk, desk.discussions.proposal(p["id"])) for p in proposals),
    ]
    if row["status"] == "streaming":
        stop = Button("Stop", ws_send=True, hx_vals='{"stop": true}', type="button", cls="stop")
        parts.append(Footer(Span("thinking …", id=f"m{number}-phase"), stop))
    else:
        parts.append(Footer(_facts(row)))
    return Article(
        *parts,
        id=f"m{number}",
        cls=f"message {role} {row['status']}",
        data_key=row["key"] or "",
        aria_label=f"{SPEAKERS[role]} said",
        **swap,
    )


def _prose(reply: str, has_card: bool) -> str:
    """What stands around the edits; the edits themselves are shown by the card."""
    return "".join(s.text for s in find(reply) if not s.is_edit) if has_card else reply


def _facts(row: Row) -> str:
    facts = json.loads(row["facts"])
    words = [row["note"]] if row["note"] else []
    if facts.get("prompt_tokens"):
        words.append(
            f"{facts['prompt_tokens']:,} tokens read, {facts['reply_tokens'] or 0:,} written"
        )
    return " · ".join(words)


def ReviewCard(desk: "Desk", row: Row, **swap: str) -> FT:
    """An edit and what can be done with it. Apply is bound to the diff that is shown here."""
    number, status = row["id"], row["status"]
    verdict = desk.discussions.verdict(row)

    def act(text: str, what: str, **more: str) -> FT:
        values = json.dumps({"sha": row["sha"]})
        return Button(
            text,
            type="button",
            hx_post=f"/proposal/{number}/{what}",
            hx_vals=values,
            hx_swap="none",
            hx_disabled_elt="this",
            **more,
        )

    buttons = []
    if status == "open":
        buttons = [act("Apply", "apply", cls="apply"), act("Dismiss", "dismiss", cls="quiet")]
    elif status in ("refused", "failed"):
        buttons = [act("Ask for another try", "repair"), act("Check again", "check", cls="quiet")]
    elif status == "applied" and desk.is_tip(row["commit_sha"]):
        buttons = [act("Undo", "undo", cls="quiet"), act("Keep", "keep", cls="quiet")]
    badges = [Span(BADGES[status], cls=f"badge {status}")]
    badges += [
        Span(note.check, cls=f"badge {'fine' if note.ok else 'warn'}", title=note.text)
        for note in verdict.notes
    ]
    shown = [NotStr(code_block(verdict.diff, "diff"))] if verdict.diff else []
    if not verdict.ok:
        shown.append(Pre(Code(verdict.reason), cls="reason"))
        proposed = NotStr(code_block(row["edit"], "diff"))
        shown.append(Details(Summary("What was proposed"), proposed))
    if status == "failed":
        shown.insert(0, Pre(Code(row["error"]), cls="reason traceback"))
    where = f"on {row['branch']} as {row['commit_sha'][:12]}" if status == "applied" else ""
    return Article(
        Header(*badges, Small(where)),
        *shown,
        *(Small(f"{note.check}: {note.text}", cls="evidence") for note in verdict.notes),
        Footer(*buttons),
        id=f"p{number}",
        cls=f"card {status}",
        **swap,
    )


class Hub:
    """Every open page's queue. An event is rendered once and sent to each page that shows its
    discussion."""

    def __init__(self, desk: "Desk") -> None:
        self.desk = desk
        self.pages: dict[asyncio.Queue[str], tuple[int, set[int]]] = {}
        self.growing: dict[int, Growing] = {}
        self.painters: dict[int, asyncio.Task[None]] = {}

    def publish(self, event: Event) -> None:
        if event.kind == "piece":
            self.growing.setdefault(event.message, Growing(self.desk.markdown)).add(event.text)
            if event.message not in self.painters:
                self.painters[event.message] = asyncio.create_task(self._paint(event))
        elif event.kind == "phase":
            phase = Span(event.text, id=f"m{event.message}-phase", hx_swap_oob="true")
            self._send(event.discussion, fragment(phase))
        elif event.kind == "message":
            self._show(event)

    def _show(self, event: Event) -> None:
        """Add a message to the pages that lack it, replace it in those that have it."""
        row = self.desk.discussions.message(event.message)
        if row["status"] != "streaming":
            self.growing.pop(event.message, None)
            if painter := self.painters.pop(event.message, None):
                painter.cancel()
        fresh = fragment(Div(Bubble(self.desk, row), hx_swap_oob="beforeend:#messages"))
        again = fragment(Bubble(self.desk, row, hx_swap_oob="true"))
        for queue, (discussion, shown) in self.pages.items():
            if discussion == event.discussion:
                queue.put_nowait(again if event.message in shown else fresh)
                shown.add(event.message)
        if row["role"] == "user":
            title = self.desk.discussions.get(event.discussion)["title"]
            self._send(event.discussion, fragment(DiscussionTitle(title, hx_swap_oob="true")))
        if row["status"] != "streaming" and row["role"] == "assistant":
            self._send(event.discussion, fragment(self.desk.meter_slot(hx_swap_oob="true")))

    async def _paint(self, event: Event) -> None:
        """Send what has grown. The pause is a multiple of the work, so that rendering takes a
        small, fixed share of the time however long the last block gets."""
        number, growing = event.message, self.growing[event.message]
        while growing is self.growing.get(number):
            begun, size = time.monotonic(), growing.size
            fresh, tail = growing.render()
            html = f'<div id="m{number}-tail" hx-swap-oob="innerHTML">{tail}</div>'
            if fresh:
                html = f'<div hx-swap-oob="beforeend:#m{number}-body">{fresh}</div>' + html
            self._send(event.discussion, html)
            await asyncio.sleep(max(0.04, 8 * (time.monotonic() - begun)))
            while growing.size == size and growing is self.growing.get(number):
                await asyncio.sleep(0.04)

    def _send(self, discussion: int, html: str) -> None:
        for queue, (shown, _) in self.pages.items():
            if shown == discussion:
                queue.put_nowait(html)


class ChatSocket:
    """The one WebSocket endpoint: `/ws?discussion=N`. A page (or a script with the token) sends
    `{"text": …, "key": …}` or `{"stop": true}`; it receives HTML fragments for htmx."""

    def __init__(self, desk: "Desk") -> None:
        self.desk = desk

    async def __call__(self, socket: WebSocket) -> None:
        desk, hub = self.desk, self.desk.hub
        await socket.accept()
        try:
            discussion = int(socket.query_params.get("discussion", ""))
            rows = desk.discussions.messages(desk.discussions.get(discussion)["id"])
        except (ValueError, WorkbenchError):
            await socket.close(1008, "no such discussion")
            return
        queue: asyncio.Queue[str] = asyncio.Queue()
        hub.pages[queue] = discussion, {row["id"] for row in rows}
        queue.put_nowait(desk.everything(discussion))
        tasks = [
            asyncio.create_task(self._read(socket, discussion)),
            asyncio.create_task(self._write(socket, queue)),
            asyncio.create_task(self._follow(discussion)),
        ]
        leaving = asyncio.create_task(desk.control.draining.wait())
        try:
            await asyncio.wait([*tasks[:2], leaving], return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():  # finish what is being said, then send the page to the new body
                tasks[0].cancel()
                while desk.chat.busy(discussion) or not queue.empty():
                    await asyncio.sleep(0.02)
                with suppress(WebSocketDisconnect, RuntimeError):  # it may have left by itself
                    await socket.close(1012)
        finally:
            del hub.pages[queue]
            for task in (*tasks, leaving):
                task.cancel()
            for task in tasks[:2]:
                with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                    await task

    async def _read(self, socket: WebSocket, discussion: int) -> None:
        chat = self.desk.chat
        while True:
            try:
                said = json.loads(await socket.receive_text())
            except (ValueError, KeyError, RecursionError):  # not JSON, or not text
                continue
            if not isinstance(said, dict):
                continue
            text, key = said.get("text"), said.get("key")
            if said.get("stop"):
                chat.stop(discussion)
            elif isinstance(text, str) and text.strip() and len(text) <= MAX_TEXT_CHARS:
                chat.say(discussion, text.strip(), key if isinstance(key, str) else None)

    async def _write(self, socket: WebSocket, queue: asyncio.Queue[str]) -> None:
        while True:
            html = await queue.get()
            await socket.send_text(html)

    async def _follow(self, discussion: int) -> None:
        """Show a reply that the body before this one is still writing."""
        desk, seen = self.desk, {}
        while True:
            rows = desk.discussions.messages(discussion)
            others = [r for r in rows if r["status"] == "streaming" and r["pid"] != os.getpid()]
            for number in seen.keys() | {row["id"] for row in others}:
                row = desk.discussions.message(number)
                if seen.get(number) != (row["content"], row["status"]):
                    seen[number] = row["content"], row["status"]
                    desk.hub.publish(Event(discussion, "message", number))
            if not others:
                return
            await asyncio.sleep(0.5)
