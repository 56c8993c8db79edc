"""Serves as one body of the program, and makes room for the next one.

Knows nothing of pages. Invariants: no caller is accepted before the parent says `go`; a response or
a reply that has begun is finished.
"""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp, Message

LINGER_S = 6  # longer than uvicorn keeps an idle connection, 5 s
MAX_MESSAGE_BYTES = 1 << 20


class Control(uvicorn.Server):
    """The server, as its parent and its pages know it; `busy()` while a reply is being written."""

    def __init__(self, listen_fd: int, control_fd: int, busy: Callable[[], bool]) -> None:
        self.draining = asyncio.Event()  # finish the reply in progress, then close with 1012
        self.listen_fd, self.control_fd, self.busy = listen_fd, control_fd, busy

    def look(self) -> None:
        """Have the parent compare the source with what serves."""
        self._tell(look=True)

    def _tell(self, **message: object) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")

    def obey(self, app: ASGIApp, on_event: Callable[[Message], None]) -> None:
        """Serve `app` until the parent says drain or dies, and nothing is `busy()`. What else it
        says goes to `on_event`, "go" before the first caller."""
        self.on_event = on_event
        config = uvicorn.Config(
            app,
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            log_config=None,
            proxy_headers=False,
            timeout_graceful_shutdown=3,
        )
        super().__init__(config)
        self.run([socket.create_server(("127.0.0.1", 0))])

    async def main_loop(self) -> None:
        """Obey the parent, then let everybody finish: uvicorn's shutdown, which follows, cuts."""
        loop, config, linger_s = asyncio.get_running_loop(), self.config, 0
        protocol = config, self.server_state, self.lifespan.state
        reader, self.writer = await asyncio.open_unix_connection(
            sock=socket.socket(fileno=self.control_fd), limit=MAX_MESSAGE_BYTES
        )
        self._tell(ready=self.servers[0].sockets[0].getsockname()[1])
        with suppress(ConnectionError):  # the parent was killed
            while line := await reader.readline():
                message = json.loads(line)
                if "drain" in message:
                    linger_s = LINGER_S
                    break
                loop.call_soon(self.on_event, message)
                if "go" in message:
                    public = await loop.create_server(
                        lambda: config.http_protocol_class(*protocol),
                        sock=socket.socket(fileno=self.listen_fd),
                        backlog=config.backlog,
                    )
                    self.servers.append(public)
                    self._tell(live=True)
        for server in self.servers:
            server.close()  # never shutdown() of the socket: other bodies accept from it
        self.draining.set()
        self.server_state.default_headers.append((b"connection", b"close"))
        until = time.monotonic() + linger_s
        await asyncio.sleep(0.1)  # what was just accepted becomes a connection
        while self.busy() or (self.server_state.connections and time.monotonic() < until):
            await asyncio.sleep(0.05)
