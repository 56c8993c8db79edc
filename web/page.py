"""The shell around every view, and what moves in it: fragments for htmx over one WebSocket.

What is slow to find out (models, the window meter) is fetched after the page has opened. Invariant:
what the socket has sent is what a reload would show.
"""

import asyncio
import os
import time
from sqlite3 import Row

from fasthtml import components as c
from fasthtml.core import FT, to_xml
from starlette.requests import Request
from starlette.websockets import WebSocket, WebSocketDisconnect

from shapes import WorkbenchError
from web.chat_pane import Bubble, ChatPane, DiscussionTitle
from web.desk import Desk

LINKS = {"/source": "Source", "/improvements": "Improvements", "/context": "Context"}
TICK_S = 0.04
STORED_S = 0.4  # about as often as a growing reply is stored
SWAP = {"hx_swap_oob": "true"}


def Shell(view: tuple, req: Request) -> FT:
    """FastHTML's body_wrap: what a handler returns, set into the page."""
    desk = Desk.__from_request__(req)
    discussion = desk.current()
    links = (c.A(text, href=href) for href, text in LINKS.items())
    bar = c.Header(
        c.Nav(c.A(desk.title, href="/"), *links, aria_label="Pages"),
        c.Div(id="models", hx_get="/models", hx_trigger="load, every 20s"),
        Meter(),
        c.P(id="notice", role="status"),
        cls="bar",
    )
    panes = c.Div(
        c.Input(type="radio", name="pane", id="show-main", checked=True),
        c.Label("Page", _for="show-main"),
        c.Input(type="radio", name="pane", id="show-chat"),
        c.Label("Chat", _for="show-chat"),
        c.Main(*view, id="main"),
        ChatPane(desk, discussion),
        cls="panes",
    )
    return c.Div(
        c.Div(bar, panes, id="page", data_body=desk.body_id, data_js=desk.version),
        Version(desk),
        hx_ext="ws",
        ws_connect=f"/ws?discussion={discussion}",
    )


def Meter(**swap: str) -> FT:
    return c.Div(id="meter", hx_get="/meter", hx_trigger="load", **swap)


def Version(desk: Desk, **swap: str) -> FT:
    """Which body is live; a page that another one made renews itself."""
    marks = {"data_body": desk.body_id, "data_js": desk.version}
    return c.Span(id="version", hidden=True, **marks, **swap)


class Hub:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.pages: dict[asyncio.Queue[str], int] = {}  # with the discussion that each shows
        self.shown: set[int] = set()  # messages that the pages have
        self.growing: dict[int, str] = {}  # newer than what is stored

    def publish(self, discussion: int, kind: str, number: int, text: str = "") -> None:
        """What the chat tells: a `piece` of a message, its `phase`, or a changed `message`."""
        if kind == "message":
            self._show(discussion, number)
        elif kind == "phase":
            self._send(discussion, c.Span(text, id=f"m{number}-phase", **SWAP))
        else:
            known = self.growing.get(number, "")
            self.growing[number] = known + text
            if not known:
                self._paint(discussion, number)

    def _send(self, discussion: int, *parts: FT) -> None:
        html = to_xml(parts, indent=False)
        for queue, shown in self.pages.items():
            if shown == discussion:
                queue.put_nowait(html)

    def _bubble(self, row: Row, **swap: str) -> FT:
        text = self.growing.get(row["id"], row["content"])
        return Bubble(self.desk, {**row, "content": text}, **swap)

    def _show(self, discussion: int, number: int) -> None:
        row = self.desk.discussions.message(number)
        parts = []
        if row["role"] == "user":
            title = self.desk.discussions.get(discussion)["title"]
            parts.append(DiscussionTitle(title, **SWAP))
        elif row["status"] != "streaming":
            self.growing.pop(number, None)
            parts.append(Meter(**SWAP))
        if number in self.shown:
            bubble = self._bubble(row, **SWAP)
        else:
            bubble = c.Div(self._bubble(row), hx_swap_oob="beforeend:#messages")
        self.shown.add(number)
        self._send(discussion, bubble, *parts)

    def _paint(self, discussion: int, number: int, painted: int = 0) -> None:
        """Send what has grown, whole, in pauses that are a multiple of the work."""
        if text := self.growing.get(number):
            begun = time.monotonic()
            if len(text) > painted:
                html = c.NotStr(self.desk.markdown.html(text))
                self._send(discussion, c.Div(html, id=f"m{number}-body", hx_swap_oob="innerHTML"))
            pause_s = max(TICK_S, 8 * (time.monotonic() - begun))
            loop = asyncio.get_running_loop()
            loop.call_later(pause_s, self._paint, discussion, number, len(text))

    async def socket(self, socket: WebSocket) -> None:
        """`/ws?discussion=N`: a page, or a script with the token, sends `{"text": …, "key": …}` or
        `{"stop": true}`; it receives HTML fragments."""
        desk = self.desk
        await socket.accept()
        try:
            discussion = desk.discussions.get(int(socket.query_params["discussion"]))["id"]
        except (KeyError, ValueError, WorkbenchError):
            return await socket.close(1008, "no such discussion")
        queue: asyncio.Queue[str] = asyncio.Queue()
        self.pages[queue] = discussion
        rows = desk.discussions.messages(discussion)
        self.shown.update(row["id"] for row in rows)
        everything = c.Div(*map(self._bubble, rows), id="messages", hx_swap_oob="innerHTML")
        queue.put_nowait(to_xml((everything, Version(desk, **SWAP)), indent=False))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(socket, discussion))
                tasks.create_task(self._write(socket, queue))
                tasks.create_task(self._watch(discussion))
                await desk.control.draining.wait()
                # finish what is being said, then send the page to the new body
                while desk.chat.busy(discussion) or queue.qsize():
                    await asyncio.sleep(TICK_S)
                await socket.close(1012)
                raise WebSocketDisconnect
        except* (WebSocketDisconnect, RuntimeError):  # one of the two has left
            pass
        finally:
            del self.pages[queue]

    async def _watch(self, discussion: int) -> None:
        """Show what the body before still writes here, as it is stored."""
        growing = True
        while growing:
            rows = self.desk.discussions.messages(discussion)
            others = (row for row in rows if row["pid"] != os.getpid())
            growing = [row["id"] for row in others if row["status"] == "streaming"]
            await asyncio.sleep(STORED_S)
            for number in growing:
                self._show(discussion, number)

    async def _read(self, socket: WebSocket, discussion: int) -> None:
        chat = self.desk.chat
        while True:
            try:
                said = await socket.receive_json()
            except (ValueError, KeyError, RecursionError):  # not JSON, or not text
                continue
            match said:
                case {"stop": _}:
                    chat.stop(discussion)
                case {"text": str(text), **more} if text.strip():
                    # while this body leaves, the page says it again to the new one
                    if not self.desk.control.draining.is_set():
                        key = more.get("key")
                        chat.say(discussion, text.strip(), str(key) if key else None)

    async def _write(self, socket: WebSocket, queue: asyncio.Queue[str]) -> None:
        while True:
            await socket.send_text(await queue.get())
