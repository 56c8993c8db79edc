"""What moves on an open page: events of the chat become fragments for htmx, over one WebSocket.

Knows how a message reaches every page, not how it looks. Invariant: what the socket has sent is
what a reload would show.
"""

import asyncio
import json
import time
from contextlib import suppress

from fasthtml import components as c
from fasthtml.core import FT, to_xml
from starlette.websockets import WebSocket, WebSocketDisconnect

from shapes import WorkbenchError
from web.chat_pane import Bubble, DiscussionTitle
from web.desk import Desk
from web.markdown import Growing
from web.page import Meter, Version

MAX_TEXT_CHARS = 400_000
TICK_S = 0.04


def fragment(*parts: FT) -> str:
    """Components as HTML, without the indentation that would show in preformatted text."""
    return "".join(to_xml(part, indent=False) for part in parts)


class Hub:
    """The queues of all open pages. An event is rendered once and sent to each page that shows its
    discussion."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.pages: dict[asyncio.Queue[str], tuple[int, set[int]]] = {}  # which messages each has
        self.growing: dict[int, Growing] = {}
        self.painters: dict[int, asyncio.Task[None]] = {}

    def publish(self, discussion: int, kind: str, number: int, text: str = "") -> None:
        """What the chat tells: a `piece` of a message, its `phase`, or a changed `message`."""
        if kind == "message":
            self._show(discussion, number)
        elif kind == "phase":
            phase = c.Span(text, id=f"m{number}-phase", hx_swap_oob="true")
            self._send(discussion, fragment(phase))
        else:
            if number not in self.growing:
                self.growing[number] = Growing(self.desk.markdown)
                self.painters[number] = asyncio.create_task(self._paint(discussion, number))
            self.growing[number].add(text)

    def bubble(self, number: int, **swap: str) -> FT:
        message = self.desk.discussions.message(number)
        return Bubble(self.desk, message, self.growing.get(number), **swap)

    def _show(self, discussion: int, number: int) -> None:
        row = self.desk.discussions.message(number)
        if row["status"] != "streaming" and self.growing.pop(number, None):
            self.painters.pop(number).cancel()
        fresh = fragment(c.Div(self.bubble(number), hx_swap_oob="beforeend:#messages"))
        again = fragment(self.bubble(number, hx_swap_oob="true"))
        for queue, (shown, has) in self.pages.items():
            if shown == discussion:
                queue.put_nowait(again if number in has else fresh)
                has.add(number)
        if row["role"] == "user":
            title = self.desk.discussions.get(discussion)["title"]
            self._send(discussion, fragment(DiscussionTitle(title, hx_swap_oob="true")))
        elif row["status"] != "streaming":
            self._send(discussion, fragment(Meter(hx_swap_oob="true")))

    async def _paint(self, discussion: int, number: int) -> None:
        """Send what has grown. The pause is a multiple of the work, so that rendering takes a
        small share of the time however long the last block gets."""
        growing, size = self.growing[number], -1
        while True:
            if growing.size == size:
                await asyncio.sleep(TICK_S)
                continue
            begun, size = time.monotonic(), growing.size
            fresh, tail = growing.render()
            html = f'<div id="m{number}-tail" hx-swap-oob="innerHTML">{tail}</div>'
            if fresh:
                html = f'<div hx-swap-oob="beforeend:#m{number}-body">{fresh}</div>' + html
            self._send(discussion, html)
            await asyncio.sleep(max(TICK_S, 8 * (time.monotonic() - begun)))

    def _send(self, discussion: int, html: str) -> None:
        for queue, (shown, _) in self.pages.items():
            if shown == discussion:
                queue.put_nowait(html)

    async def socket(self, socket: WebSocket) -> None:
        """`/ws?discussion=N`: a page, or a script with the token, sends `{"text": …, "key": …}` or
        `{"stop": true}`; it receives HTML fragments."""
        desk = self.desk
        await socket.accept()
        try:
            discussion = desk.discussions.get(int(socket.query_params["discussion"]))["id"]
        except (KeyError, ValueError, WorkbenchError):
            await socket.close(1008, "no such discussion")
            return
        queue: asyncio.Queue[str] = asyncio.Queue()
        numbers = [row["id"] for row in desk.discussions.messages(discussion)]
        self.pages[queue] = discussion, set(numbers)
        everything = c.Div(*map(self.bubble, numbers), id="messages", hx_swap_oob="innerHTML")
        queue.put_nowait(fragment(everything, Version(desk, hx_swap_oob="true")))
        reader = asyncio.create_task(self._read(socket, discussion))
        writer = asyncio.create_task(self._write(socket, queue))
        leaving = asyncio.create_task(desk.control.draining.wait())
        tasks = (reader, writer, leaving)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():  # finish what is being said, then send the page to the new body
                while not writer.done() and (desk.chat.busy(discussion) or queue.qsize()):
                    await asyncio.sleep(TICK_S)
                with suppress(WebSocketDisconnect, RuntimeError):  # it may have left by itself
                    await socket.close(1012)
        finally:
            del self.pages[queue]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

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
            elif self.desk.control.draining.is_set():
                continue  # not confirmed, so the page says it again to the new body
            elif isinstance(text, str) and text.strip() and len(text) <= MAX_TEXT_CHARS:
                chat.say(discussion, text.strip(), key if isinstance(key, str) else None)

    async def _write(self, socket: WebSocket, queue: asyncio.Queue[str]) -> None:
        while True:
            await socket.send_text(await queue.get())
