"""Serves as one body of the program, and makes room for the next one.

Knows nothing of pages. Invariants: no caller is accepted before the parent says `go`; a response or
a reply that has begun is finished. Drained, it is ready to go again until the parent ends it.
"""

import asyncio
import json
import os
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
        loop, until = asyncio.get_running_loop(), 0.0
        reader, self.writer = await asyncio.open_unix_connection(
            sock=socket.socket(fileno=self.control_fd), limit=MAX_MESSAGE_BYTES
        )
        self._tell(ready=self.servers[0].sockets[0].getsockname()[1])
        with suppress(ConnectionError):  # the parent was killed
            while line := await reader.readline():
                message = json.loads(line)
                if "drain" in message:
                    self._leave()
                    until = time.monotonic() + LINGER_S
                    continue
                loop.call_soon(self.on_event, message)
                if "go" in message:
                    await self._serve_public()
                    self._tell(live=True)
        self._leave()
        await asyncio.sleep(0.1)  # what was just accepted becomes a connection
        while self.busy() or (self.server_state.connections and time.monotonic() < until):
            await asyncio.sleep(0.05)

    async def _serve_public(self) -> None:
        config = self.config
        protocol = config, self.server_state, self.lifespan.state
        self.draining.clear()
        self.server_state.default_headers = []
        public = await asyncio.get_running_loop().create_server(
            lambda: config.http_protocol_class(*protocol),
            sock=socket.socket(fileno=os.dup(self.listen_fd)),
            backlog=config.backlog,
        )
        self.servers.append(public)

    def _leave(self) -> None:
        """Take no new callers, and send away those that are here as they are answered."""
        for server in self.servers[1:]:
            server.close()  # never shutdown() of the socket: other bodies accept from it
        del self.servers[1:]
        self.draining.set()
        self.server_state.default_headers = [(b"connection", b"close")]
