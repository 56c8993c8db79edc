"""The app of one body, and the wall around it.

Invariant: a foreign Host or Origin, and a change from a foreign site or without the token, ends
at the wall; no header raises.
"""

import difflib
import hmac

from fasthtml import components as c
from fasthtml.core import FastHTML, FtResponse, fh_cfg
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from chat import Chat
from patches import Branch
from shapes import WorkbenchError
from web import assets, context_view, improvements, views
from web.body import Control
from web.desk import Desk
from web.page import LINKS, Hub, Shell

REFUSAL = "Only the page itself may do this, or a sender of X-Workbench-Token."
NAMES = ("127.0.0.1", "localhost")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app, self.token = app, token
        self.hosts = {f"{name}:{port}" for name in NAMES} | {*(NAMES if port == 80 else ())}
        self.cookie = f"workbench-{port}"  # cookies ignore ports
        cookie = f"{self.cookie}={token}; Path=/; HttpOnly; SameSite=Strict"
        self.headers = HEADERS | {"Set-Cookie": cookie}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        if scope["type"] == "lifespan" or self._is_ours(HTTPConnection(scope)):
            await self.app(scope, receive, send_with_headers)
        else:
            http = scope["type"] == "http"
            refuse = PlainTextResponse(REFUSAL, 403) if http else WebSocketClose(1008)
            await refuse(scope, receive, send)

    def _is_ours(self, connection: HTTPConnection) -> bool:
        header = connection.headers.get
        origin = header("origin", "").removeprefix("http://")
        if header("host") not in self.hosts or origin not in ("", *self.hosts):
            return False
        if connection.get("method") in ("GET", "HEAD"):  # a WebSocket has none
            return True
        shown = header("x-workbench-token") or connection.cookies.get(self.cookie, "")
        same_site = header("sec-fetch-site", "none") in ("same-origin", "none")
        return same_site and hmac.compare_digest(shown.encode(), self.token.encode())


def make_app(chat: Chat, control: Control, token: str, port: int) -> tuple[Guard, Desk]:
    """The app behind its wall, and the desk that the supervisor's news go to."""
    fh_cfg.indent = False  # indentation would show in preformatted text
    desk = Desk(chat, Branch(chat.repo), control, chat.app_name)
    hub = Hub(desk)
    chat.publish = hub.publish
    app = FastHTML(
        default_hdrs=False,
        hdrs=assets.TAGS,
        htmlkw={"lang": "en"},
        body_wrap=Shell,
        canonical=False,
        secret_key=token,
        sess_cls=None,
        exception_handlers={404: not_found, WorkbenchError: refused},
    )
    app.state.desk = desk
    for room in (context_view, improvements, views):
        room.routes.to_app(app)
    app.mount("/static", StaticFiles(directory=assets.STATIC))
    app.mount("/vendor", StaticFiles(directory=assets.VENDOR, check_dir=False))
    app.router.routes.append(WebSocketRoute("/ws", hub.socket))
    return Guard(app, token, port), desk


async def refused(request: Request, error: WorkbenchError) -> Response | FtResponse:
    if request.headers.get("hx-request"):
        return PlainTextResponse(str(error), 409)
    view = c.Title("Not possible"), c.H1(error.message), c.P(error.hint)
    return FtResponse(view, 409)  # FastHTML would take the error's class for the status


async def not_found(request: Request, error: Exception) -> tuple:
    title = f"There is no page {request.url.path}"
    near = difflib.get_close_matches(request.url.path, LINKS, 3, 0)
    links = (c.Li(c.A(path, href=path)) for path in near)
    return c.Title(title), c.H1(title), c.P("Near it:"), c.Ul(*links)
