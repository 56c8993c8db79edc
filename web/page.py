"""The shell around every view: navigation bar, main area, chat pane.

What is slow to find out (models, the window meter) is fetched after the page has opened.
"""

from fasthtml import components as c
from fasthtml.core import FT
from starlette.requests import Request

from web.chat_pane import ChatPane
from web.desk import Desk

LINKS = {"/source": "Source", "/context": "Context"}
HTMX = '{"allowEval":false,"allowScriptTags":false,"includeIndicatorStyles":false}'
HEAD = (
    c.Meta(charset="utf-8"),
    c.Meta(name="viewport", content="width=device-width, initial-scale=1"),
    c.Meta(name="color-scheme", content="light dark"),
    c.Meta(name="htmx-config", content=HTMX),
)


def Shell(view: tuple, req: Request) -> FT:
    """FastHTML's body_wrap: what a handler returns, set into the page."""
    desk = Desk.__from_request__(req)
    discussion = desk.current()
    cdn = "npm is missing: htmx and Pico come from a CDN." if desk.assets.cdn else ""
    bar = c.Header(
        c.Nav(
            c.A(desk.title, href="/"),
            *(c.A(text, href=href) for href, text in LINKS.items()),
            aria_label="Pages",
        ),
        c.Div(id="models", hx_get="/models", hx_trigger="load, every 20s"),
        Meter(),
        c.P(cdn, id="notice", role="status"),
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
        c.Div(bar, panes, id="page", **_marks(desk)),
        Version(desk),
        hx_ext="ws",
        ws_connect=f"/ws?discussion={discussion}",
    )


def Meter(**swap: str) -> FT:
    return c.Div(id="meter", hx_get="/meter", hx_trigger="load", **swap)


def Version(desk: Desk, **swap: str) -> FT:
    """Which body is live; a page that another one made renews itself."""
    return c.Span(id="version", hidden=True, **_marks(desk), **swap)


def _marks(desk: Desk) -> dict[str, str]:
    return {"data_body": desk.body_id, "data_js": desk.assets.version}
