"""The routes: views of the main area, parts of the bar, buttons.

Each handler is a few lines; how things are done is the desk's. Invariant: a route that changes
a file answers POST only.
"""

import asyncio
import importlib
import os
import pkgutil

from fasthtml import components as c
from fasthtml.core import FT, APIRouter, HtmxResponseHeaders, to_xml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chat import Choice
from shapes import WorkbenchError, plural
from web.assets import ROOT
from web.desk import Click, Desk
from web.markdown import code_css, code_html, source_url
from web.page import Meter, Shell

EXAMPLES = ("Which file restarts the server?", "What changed lately?", "Remove unused imports")
routes = APIRouter(body_wrap=Shell)


@routes("/")
def home(desk: Desk) -> tuple:
    repo = desk.repo
    mine = "This is the source of the program you are using." if desk.own else ""
    files, branch = plural(len(repo.files()), "file"), repo.branch() or "none (detached)"
    commits = ((c.Code(each.sha[:8]), each.subject, each.date[:10]) for each in repo.log(8))
    examples = (c.Button(text, cls="example") for text in EXAMPLES)
    return (
        c.Title(desk.title),
        c.H1(desk.title),
        c.P(f"{files} of ", c.Strong(repo.name), f" on branch {branch}. {mine}"),
        c.P(
            "Ask on the right. A proposed change comes as a card; nothing happens to a file before "
            "you press Apply, and Undo takes it back exactly."
        ),
        c.Div(*examples, cls="row"),
        c.H2("Newest commits"),
        c.Table(*(c.Tr(*map(c.Td, commit)) for commit in commits)),
    )


@routes("/discussion/{number}")
def discussion(desk: Desk, number: int) -> tuple:
    desk.settings["discussion"] = desk.discussions.get(number)["id"]
    return home(desk)


@routes("/source")
def source_list(desk: Desk) -> tuple:
    links = [c.Li(c.A(path, href=source_url(path))) for path in desk.repo.files()]
    return c.Title("Source"), c.H1("Source"), c.Ul(*links, cls="files")


@routes("/source/{path:path}")
def source(desk: Desk, path: str, line: int = 0) -> tuple:
    file = desk.repo.text(path) if path in desk.repo.files() else None
    if file is None:
        raise WorkbenchError(
            f"{path} is not shown: it is not tracked, or binary, very large, a link, or secret.",
            "The Source page lists what is tracked.",
        )
    # the formatter closes its spans at each line's end, so lines can be taken apart
    lines = code_html(file.text, filename=path).removesuffix("\n").split("\n")
    rows = (
        c.Li(c.NotStr(html or " "), id=f"L{n}", cls="here" if n == line else "")
        for n, html in enumerate(lines, 1)
    )
    return c.Title(path), c.H1(path), c.Ol(*rows, cls="source")


@routes("/code.css")
def code_style() -> Response:
    return Response(code_css(), media_type="text/css")


@routes("/models")
async def models(desk: Desk) -> tuple:
    menu, window = await desk.chat.choice.menu(), desk.chat.choice.window()
    names = (c.Option(name, selected=name == menu.chosen) for name in menu.names)
    sizes = (c.Option(f"{w // 1024}K", value=w, selected=w == window) for w in Choice.WINDOWS)
    send = {"hx_post": "/choice", "hx_swap": "none"}
    return (
        c.Select(*names, name="model", aria_label="Model", **send),
        c.Select(*sizes, name="window", aria_label="Window", **send),
        c.Span(menu.notice, role="alert"),
    )


@routes("/choice", methods=["POST"])
def choice(desk: Desk, model: str = "", window: int = 0) -> FT:
    if model:
        desk.settings["model"] = model
    if window in Choice.WINDOWS:
        desk.settings["window_tokens"] = window
    return Meter(hx_swap_oob="true")


@routes("/discussion", methods=["POST"])
def new_discussion(desk: Desk) -> HtmxResponseHeaders:
    return HtmxResponseHeaders(redirect=f"/discussion/{desk.discussions.start()}")


@routes("/proposal/{number}/diff")
def diff(desk: Desk, number: int) -> Response:
    verdict = desk.discussions.verdict(desk.discussions.proposal(number))
    return Response(verdict.diff.encode("utf-8", "surrogateescape"), media_type="text/plain")


@routes("/proposal/{number}/{what}", methods=["POST"])
async def act(desk: Desk, click: Click) -> Response:
    await desk.act(click)
    return Response(status_code=204)


@routes("/healthz")
async def healthz(desk: Desk, request: Request) -> Response:
    """Whether this body can serve: every module of ours imports, and the first page renders."""
    for module in pkgutil.walk_packages([str(ROOT)]):
        if not module.name.startswith(("tests", "benchmarks")):
            await asyncio.to_thread(importlib.import_module, module.name)
    to_xml(Shell(home(desk), request))
    return JSONResponse({"ok": True, "commit": desk.repo.head(), "pid": os.getpid()})
