"""Builds the app of one body: pages, socket, assets, errors, and the guard around them all."""

import difflib

from fasthtml import components as c
from fasthtml.core import FastHTML, fh_cfg
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import WebSocketRoute

from chat import Chat
from patches import Branch
from shapes import WorkbenchError
from web import assets
from web.body import Control
from web.desk import Desk
from web.guard import App, Guard
from web.live import Hub
from web.page import HEAD, LINKS, Shell
from web.views import routes


def make_app(
    chat: Chat, branch: Branch, control: Control, token: str, app_name: str, port: int
) -> tuple[App, Desk]:
    """The guarded app, and the desk that the supervisor's news go to."""
    fh_cfg.indent = False  # FastHTML's own setting: indentation shows in preformatted text
    desk = Desk(chat, branch, control, app_name)
    hub = Hub(desk)
    chat.publish = hub.publish
    app = FastHTML(
        default_hdrs=False,
        hdrs=(*HEAD, *desk.assets.tags),
        htmlkw={"lang": "en"},
        body_wrap=Shell,
        canonical=False,
        secret_key=token,
        sess_cls=None,
        exception_handlers={404: not_found, WorkbenchError: refused},
    )
    app.state.desk = desk
    routes.to_app(app)
    app.router.routes += [*assets.mounts(), WebSocketRoute("/ws", hub.socket)]
    return Guard(app, token, port, desk.assets.cdn), desk


async def refused(request: Request, error: WorkbenchError) -> Response | tuple:
    if request.headers.get("hx-request"):
        return PlainTextResponse(str(error), status_code=409)
    return c.Title("Not possible"), c.H1("Not possible"), c.P(error.message), c.P(error.hint)


async def not_found(request: Request, error: Exception) -> tuple:
    """404 in the page's own layout, with the nearest addresses that exist."""
    near = difflib.get_close_matches(request.url.path, LINKS, 3, 0.3) or ["/"]
    links = c.Ul(*(c.Li(c.A(path, href=path)) for path in near))
    title = "There is no such page"
    return c.Title(title), c.H1(title), c.P(f"{request.url.path} is not one. Near it:"), links
