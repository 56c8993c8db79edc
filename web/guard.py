"""The wall in front of every request and WebSocket: only this machine's own page gets through.

Knows nothing of routes. Invariant: a foreign Host or Origin, and a change from a foreign site or
without the token, ends here; no header raises.
"""

import hmac

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp as App
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

REFUSAL = "Only the page itself may do this, or a sender of X-Workbench-Token."
NAMES = ("127.0.0.1", "localhost")
CSP = (
    "default-src 'none'; script-src 'self'{cdn}; style-src 'self'{cdn}; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """`cdn` is the one foreign origin for assets."""

    def __init__(self, app: App, token: str, port: int, cdn: str = "") -> None:
        self.app = app
        self.token = token
        self.hosts = {f"{name}:{port}" for name in NAMES} | set(NAMES if port == 80 else ())
        # cookies ignore ports
        self.cookie = f"workbench-{port}"
        policy = CSP.format(cdn=f" {cdn}" if cdn else "")
        self.headers = HEADERS | {"Content-Security-Policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        cookie = connection.cookies.get(self.cookie, "")
        if not self._is_ours(connection, cookie):
            http = scope["type"] == "http"
            refuse = PlainTextResponse(REFUSAL, 403) if http else WebSocketClose(1008)
            await refuse(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self.headers)
                headers.setdefault("Cache-Control", "no-store")
                if scope["method"] == "GET" and not self._is_token(cookie):
                    rules = "Path=/; HttpOnly; SameSite=Strict"
                    headers.append("Set-Cookie", f"{self.cookie}={self.token}; {rules}")
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _is_token(self, shown: str) -> bool:
        return hmac.compare_digest(shown.encode(), self.token.encode())

    def _is_ours(self, connection: HTTPConnection, cookie: str) -> bool:
        def header(name: str) -> str:
            """Twice the same matches nothing."""
            return ", ".join(connection.headers.getlist(name))

        host, method = header("host"), connection.get("method")
        # the parent asks on a port of its own
        health = method == "GET" and connection["path"] == "/healthz"
        if host not in self.hosts and not (health and host.rpartition(":")[0] in NAMES):
            return False
        if header("origin") not in ("", *(f"http://{host}" for host in self.hosts)):
            return False
        if method in ("GET", "HEAD"):  # a WebSocket has none
            return True
        same_site = header("sec-fetch-site") in ("", "same-origin", "none")
        return same_site and self._is_token(header("x-workbench-token") or cookie)
