"""Serves as one body of the program, and makes room for the next one.

Knows nothing of pages. Invariants: no caller is accepted before the parent says `go`; a response or
a reply that has begun is finished.
"""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext

import uvicorn
from starlette.types import ASGIApp, Message

LINGER_S = 6  # longer than uvicorn keeps an idle connection, 5 s
MAX_MESSAGE_BYTES = 1 << 20


class Control:
    def __init__(self) -> None:
        self.draining = asyncio.Event()  # finish the reply in progress, then close with 1012
        self.writer: asyncio.StreamWriter | None = None

    def look(self) -> None:
        self.tell(look=True)

    def tell(self, **message: object) -> None:
        if self.writer:
            self.writer.write(json.dumps(message).encode() + b"\n")


def serve(
    app: ASGIApp,
    control: Control,
    *,
    listen_fd: int,
    control_fd: int,
    busy: Callable[[], bool],
    on_event: Callable[[Message], None],
) -> None:
    """Serve `app` until the parent says drain or dies, and it is not `busy()`.

    `on_event` gets {"go": true} before the first caller, {"swapping": true}, {"unchanged": true},
    {"failed": {"stage": …, "error": …, "paths": [...]}}.
    """
    config = uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        log_config=None,
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )
    server = _Server(config)
    server.control, server.busy, server.on_event = control, busy, on_event
    server.listener = socket.socket(fileno=listen_fd)
    server.channel = socket.socket(fileno=control_fd)
    for each in (server.listener, server.channel):
        each.set_inheritable(False)  # a program that we start must not hold them open
    server.run([socket.create_server(("127.0.0.1", 0))])


class _Server(uvicorn.Server):
    linger_s = 0

    def capture_signals(self) -> nullcontext[None]:
        return nullcontext()  # signals belong to the parent

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.obeying = asyncio.create_task(self.obey())

    async def obey(self) -> None:
        loop, config = asyncio.get_running_loop(), self.config
        protocol = config, self.server_state, self.lifespan.state
        try:
            reader, self.control.writer = await asyncio.open_unix_connection(
                sock=self.channel, limit=MAX_MESSAGE_BYTES
            )
            self.control.tell(ready=self.servers[0].sockets[0].getsockname()[1])
            while line := await reader.readline():
                message = json.loads(line)
                if "drain" in message:
                    self.linger_s = LINGER_S
                    return
                loop.call_soon(self.on_event, message)
                if "go" in message:
                    public = await loop.create_server(
                        lambda: config.http_protocol_class(*protocol),
                        sock=self.listener,
                        backlog=config.backlog,
                    )
                    self.servers.append(public)
                    self.control.tell(live=True)
        finally:
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let everybody finish; uvicorn's cuts."""
        for server in self.servers:
            server.close()  # never shutdown() of the socket: other bodies accept from it
        self.control.draining.set()
        self.server_state.default_headers.append((b"connection", b"close"))
        until = time.monotonic() + self.linger_s
        await asyncio.sleep(0.1)  # what was just accepted becomes a connection
        while self.busy() or (self.server_state.connections and time.monotonic() < until):
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)
