"""How this process serves as one body of the program, and makes room for the next one.

Knows nothing of pages or of the parent's reasons. Invariants: no caller is accepted before the
parent says `go`; a response or a reply that has begun is finished.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import uvicorn

LINGER_S = 6  # longer than an idle kept-alive connection lasts, which is 5 s in uvicorn
MAX_MESSAGE_BYTES = 1 << 20

Message = dict[str, Any]
Asgi = Callable[..., Awaitable[Any]]


class Control:
    """What the app knows of its parent."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()  # finish the reply in progress, then close with 1012
        self.writer: asyncio.StreamWriter | None = None

    def look(self) -> None:
        """Have the source compared at once; a drain, `failed` or `unchanged` follows."""
        self.tell(look=True)

    def tell(self, **message: object) -> None:
        if self.writer:
            self.writer.write(json.dumps(message).encode() + b"\n")


def serve(
    app: Asgi,
    control: Control,
    *,
    listen_fd: int,
    control_fd: int,
    busy: Callable[[], bool],
    on_event: Callable[[Message], None],
) -> None:
    """Serve `app` until the parent says drain or dies; replies while `busy()` are waited for.

    `on_event` gets the parent's words in the event loop: {"go": true} before the first caller,
    {"swapping": true}, {"unchanged": true},
    {"failed": {"stage": "syntax" | "boot" | "health", "error": text, "paths": [...]}}.
    """

    async def polite(scope: Message, receive: Asgi, send: Asgi) -> None:
        async def last(message: Message) -> None:
            if message["type"] == "http.response.start" and control.draining.is_set():
                closing = (b"connection", b"close")  # the next request finds the next body
                message = {**message, "headers": [*message.get("headers", ()), closing]}
            await send(message)

        await app(scope, receive, last)

    config = uvicorn.Config(
        polite,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )
    for fd in (listen_fd, control_fd):
        os.set_inheritable(fd, False)  # a program that we start must not hold them open
    private = socket.create_server(("127.0.0.1", 0))
    server = _Server(config)
    server.control, server.fds = control, (listen_fd, control_fd)
    server.busy, server.on_event = busy, on_event
    server.run([private])


class _Server(uvicorn.Server):
    control: Control
    fds: tuple[int, int]  # shared listener, control channel
    busy: Callable[[], bool]
    on_event: Callable[[Message], None]
    linger_s = 0

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()  # signals belong to the parent

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        reader, self.control.writer = await asyncio.open_unix_connection(
            sock=socket.socket(fileno=self.fds[1]), limit=MAX_MESSAGE_BYTES
        )
        self.obeying = asyncio.create_task(self.obey(reader))
        self.control.tell(ready=self.servers[0].sockets[0].getsockname()[1])

    async def obey(self, reader: asyncio.StreamReader) -> None:
        """Do what the parent says, until it says drain or is gone."""
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if "drain" in message:
                    self.linger_s = 0 if message["drain"]["stop"] else LINGER_S
                    return
                asyncio.get_running_loop().call_soon(self.on_event, message)
                if "go" in message:
                    await self.accept()
        finally:
            self.should_exit = True

    async def accept(self) -> None:
        """Take callers from the shared queue."""
        # named as TCP, else asyncio leaves Nagle on: 44 ms for each response
        tcp = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
        shared = socket.socket(*tcp, fileno=os.dup(self.fds[0]))
        protocol = partial(
            self.config.http_protocol_class, self.config, self.server_state, self.lifespan.state
        )
        loop = asyncio.get_running_loop()
        public = await loop.create_server(protocol, sock=shared, backlog=self.config.backlog)
        self.servers.append(public)
        self.control.tell(live=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let everybody finish; uvicorn's own cuts idle connections and replies at once."""
        for server in self.servers:
            server.close()  # never shutdown() of the socket: other bodies accept from it
        self.control.draining.set()
        loop = asyncio.get_running_loop()
        until = loop.time() + self.linger_s
        await asyncio.sleep(0.1)  # what was just accepted becomes a connection
        while self.busy() or (self.server_state.connections and loop.time() < until):
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)
