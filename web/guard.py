"""The wall in front of every request and WebSocket: only this machine's own page gets through.

Knows nothing of routes. Invariant: a request with a foreign Host, Origin or fetch site, and a
change without the token, ends here; no header, however malformed, raises. One pure ASGI wrapper,
because middleware classes that see HTTP only would leave the WebSocket open.
"""

import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie

Scope = MutableMapping[str, object]
Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE_METHODS = {"GET", "HEAD"}
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
    """`cdn` is the one foreign origin that the page may load assets from, "" for none."""

    def __init__(self, app: App, token: str, port: int, cdn: str = "") -> None:
        self.app = app
        self.token = token
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self.hosts |= {"127.0.0.1", "localhost"} if port == 80 else set()
        self.origins = {f"http://{host}" for host in self.hosts}
        # cookies ignore ports: another workbench on this machine must not get ours
        self.cookie = f"workbench-{port}"
        self.headers = HEADERS | {
            "Content-Security-Policy": CSP.format(cdn=f" {cdn}" if cdn else "")
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = _headers(scope["headers"])
        why = self._refusal(scope, headers)
        if why:
            await _refuse(scope, send, why)
            return
        has_cookie = hmac.compare_digest(self._cookie(headers).encode(), self.token.encode())

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = dict(self.headers)
                if not any(key.lower() == b"cache-control" for key, _ in message["headers"]):
                    more["Cache-Control"] = "no-store"
                if not has_cookie and scope["method"] == "GET":
                    more["Set-Cookie"] = (
                        f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
                    )
                message["headers"] = [
                    *message["headers"],
                    *((key.encode(), value.encode()) for key, value in more.items()),
                ]
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> str:
        """Why this request is not let through, or ""."""
        if scope.get("path") == "/healthz" and scope.get("method") == "GET":
            host = headers.get("host", "").rpartition(":")[0]
            return "" if host in ("127.0.0.1", "localhost") else "This is not its address."
        if headers.get("host") not in self.hosts:
            return "This page answers only under its own address on this machine."
        if headers.get("origin", "http://" + headers["host"]) not in self.origins:
            return "Another page tried to use this one."
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if changes and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "Another page tried to use this one."
        shown = headers.get("x-workbench-token", "") or self._cookie(headers)
        if changes and not hmac.compare_digest(shown.encode(), self.token.encode()):
            return "The token is missing: open the page first, or send X-Workbench-Token."
        return ""

    def _cookie(self, headers: dict[str, str]) -> str:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return morsel.value if morsel and morsel.value.isascii() else ""


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Lower-case names; a header that comes twice is joined, and so matches nothing."""
    headers: dict[str, str] = {}
    for key, value in pairs:
        name, text = key.decode("latin-1").lower(), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers


async def _refuse(scope: Scope, send: Send, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": why})
        return
    head = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": head})
    await send({"type": "http.response.body", "body": why.encode() + b"\n"})
