"""The shell of every page: navigation bar, main area, chat pane.

Knows nothing of what the main area shows. Components are pure functions in capitals; what is slow
to find out (models, the window meter) is fetched by the page after it has opened.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasthtml.components import (
    A,
    Body,
    Button,
    Div,
    Footer,
    Form,
    Head,
    Header,
    Html,
    Input,
    Label,
    Main,
    Meta,
    Nav,
    P,
    Section,
    Span,
    Strong,
    Textarea,
    Title,
)
from fasthtml.core import FT
from starlette.responses import HTMLResponse

from web.chat_pane import DiscussionMenu, Messages, fragment

if TYPE_CHECKING:
    from web.app import Desk

HTMX = (
    '{"allowEval":false,"allowScriptTags":false,"includeIndicatorStyles":false,'
    '"selfRequestsOnly":true,"historyCacheSize":0}'
)


@dataclass(frozen=True)
class View:
    """What a route puts into the main area."""

    title: str
    parts: tuple[object, ...]
    status: int = 200


def page(desk: "Desk", view: View, discussion: int) -> HTMLResponse:
    """A whole page with its own address."""
    return HTMLResponse(fragment(Page(desk, view, discussion)), view.status)


def Page(desk: "Desk", view: View, discussion: int) -> FT:
    return Html(
        Head(
            Meta(charset="utf-8"),
            Meta(name="viewport", content="width=device-width, initial-scale=1"),
            Meta(name="color-scheme", content="light dark"),
            Meta(name="htmx-config", content=HTMX),
            Title(f"{view.title} · {desk.title}"),
            *desk.assets.tags(),
        ),
        Body(
            Div(
                NavigationBar(desk),
                Panes(desk, view, discussion),
                id="page",
                **body_marks(desk),
            ),
            Version(desk),
            hx_ext="ws",
            ws_connect=f"/ws?discussion={discussion}",
        ),
        lang="en",
    )


def Version(desk: "Desk", **swap: str) -> FT:
    """Which body is live; a page that another one made renews itself."""
    return Span(id="version", hidden=True, **body_marks(desk), **swap)


def body_marks(desk: "Desk") -> dict[str, str]:
    return {"data_body": desk.body_id, "data_js": desk.assets.digest("app.js")}


def NavigationBar(desk: "Desk") -> FT:
    links = [("/source", "Source"), ("/context", "Context"), ("/changes", "Changes")]
    cdn = "" if desk.assets.local else "npm is missing: htmx and Pico come from a CDN. "
    return Header(
        Nav(
            A(Strong(desk.title), href="/", cls="brand"),
            *(A(text, href=href) for href, text in links),
            cls="links",
            aria_label="Pages",
        ),
        Div(id="models", hx_get="/models", hx_trigger="load, every 20s"),
        Div(id="meter", hx_get="/meter", hx_trigger="load"),
        P(cdn, id="notice", role="status"),
        cls="bar",
    )


def Panes(desk: "Desk", view: View, discussion: int) -> FT:
    return Div(
        Input(type="radio", name="pane", id="show-main", checked=True),
        Label("Page", _for="show-main", cls="tab"),
        Input(type="radio", name="pane", id="show-chat"),
        Label("Chat", _for="show-chat", cls="tab"),
        Main(*view.parts, id="main"),
        ChatPane(desk, discussion),
        cls="panes",
    )


def ChatPane(desk: "Desk", discussion: int) -> FT:
    return Section(
        DiscussionMenu(desk, discussion),
        Div(
            *Messages(desk, discussion),
            id="messages",
            role="log",
            aria_label="Messages",
            hx_preserve=True,
        ),
        Form(
            Textarea(
                id="draft",
                name="text",
                rows=2,
                placeholder="Ask about the source, or ask for a change",
                aria_label="Message",
                autocomplete="off",
                autofocus=True,
                hx_preserve=True,
            ),
            Button("Send", type="submit"),
            id="ask",
            ws_send=True,
        ),
        Footer(Span("Reconnecting …", cls="reconnecting", role="status")),
        cls="chat",
        aria_label="Chat",
    )
