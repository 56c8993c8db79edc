"""The routes: views of the main area, parts of the bar, buttons.

Each handler is a few lines; how things are done is the desk's. Invariant: a route that changes
anything answers POST only.
"""

import asyncio
import importlib
import os
import pkgutil

from fasthtml import components as c
from fasthtml.core import FT, APIRouter, HtmxResponseHeaders, to_xml
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from chat import Choice
from shapes import WorkbenchError, plural
from web.desk import Desk
from web.markdown import code_html, source_url
from web.page import Meter, Shell

# Every module of these must import before a body goes live; the supervisor checks the others.
ROOMS = ("chat", "context", "models", "patches", "plugins", "rag_index", "repo", "upgrades", "web")
EXAMPLES = ("Which file restarts the server?", "What changed lately?", "Remove unused imports")
MOVES = {
    "undo": "Take the newest change back",
    "redo": "Bring the last undone change again",
    "keep": "Fast-forward your own branch to here",
}
routes = APIRouter(body_wrap=Shell)


@routes("/", methods=["GET"])
def home(desk: Desk) -> tuple:
    repo = desk.repo
    mine = "This is the source of the program you are using." if desk.own else ""
    files, branch = plural(len(repo.files()), "file"), repo.branch() or "none (detached)"
    commits = [
        (c.Code(commit.sha[:8]), commit.subject, c.Small(commit.date[:10]))
        for commit in repo.log(8)
    ]
    return (
        c.Title(desk.title),
        c.H1(desk.title),
        c.P(f"{files} of ", c.Strong(repo.name), f" on branch {branch}. {mine}"),
        c.P(
            "Ask on the right. A proposed change comes as a card; nothing happens to a file before "
            "you press Apply, and Undo takes it back exactly."
        ),
        c.Div(*map(Example, EXAMPLES), cls="examples"),
        c.H2("Newest commits"),
        Table((), commits),
    )


def Example(text: str) -> FT:
    return c.Button(text, type="button", cls="example quiet", data_text=text)


def Table(head: tuple, rows: list[tuple]) -> FT:
    cells = [c.Tr(*(c.Td(cell) for cell in row)) for row in rows]
    if not rows:
        return c.P("Nothing yet.")
    return c.Table(c.Thead(c.Tr(*map(c.Th, head))), c.Tbody(*cells))


@routes("/discussion/{number}", methods=["GET"])
def discussion(desk: Desk, number: int) -> tuple:
    """The home page with this discussion open; it stays open on the other pages."""
    desk.settings["discussion"] = desk.discussions.get(number)["id"]
    return home(desk)


@routes("/source", methods=["GET"])
def source_list(desk: Desk) -> tuple:
    links = [c.Li(c.A(path, href=source_url(path))) for path in desk.repo.files()]
    return c.Title("Source"), c.H1("Source"), c.Ul(*links, cls="files")


@routes("/source/{path:path}", methods=["GET"])
def source(desk: Desk, path: str, line: int = 0) -> tuple:
    """One tracked file, every line with its number and its own address."""
    file = desk.repo.text(path) if path in desk.repo.files() else None
    if file is None:
        raise WorkbenchError(
            f"{path} is not shown: it is not tracked, or binary, very large, a link, or secret.",
            "The Source page lists what is tracked.",
        )
    # the formatter closes its spans at each line's end, so lines can be taken apart
    lines = code_html(file.text, filename=path).removesuffix("\n").split("\n")
    rows = [
        c.Li(c.NotStr(html or " "), id=f"L{n}", cls="here" if n == line else "")
        for n, html in enumerate(lines, 1)
    ]
    return c.Title(path), c.H1(path), c.Ol(*rows, cls="source")


@routes("/context", methods=["GET"])
async def context(desk: Desk) -> tuple:
    """What the model is told: every file with its form and tokens, and the exact text."""
    pack, window = await desk.packed()
    files = sorted(pack.files, key=lambda file: (file.form, -file.tokens))
    rows = [(c.A(f.path, href=source_url(f.path)), f.form, f"{f.tokens:,}") for f in files]
    return (
        c.Title("Context"),
        c.H1("Context"),
        c.P(
            f"{pack.total_tokens:,} tokens of the pack's {pack.budget_tokens:,}; the window holds "
            f"{window:,}. Counted with {pack.encoding}. ",
            c.A("The exact text", href="/context/text"),
        ),
        c.Progress(value=pack.total_tokens, max=window),
        Table(("File", "Form", "Tokens"), rows),
    )


@routes("/context/text", methods=["GET"])
async def context_text(desk: Desk) -> Response:
    return PlainTextResponse((await desk.packed())[0].text)


@routes("/changes", methods=["GET"])
def changes(desk: Desk) -> tuple:
    """What was applied, newest first, with the ways back and forth."""
    rows = [(c.Code(r.commit[:8]), r.subject, r.model, r.state) for r in desk.branch.changes()]
    moves = [
        c.Button(what.title(), hx_post=f"/changes/{what}", cls="quiet", title=title)
        for what, title in MOVES.items()
    ]
    where = c.P(f"On branch {desk.repo.branch() or 'none'}.")
    table = Table(("Commit", "Change", "Model", "State"), rows)
    return c.Title("Changes"), c.H1("Changes"), where, c.Div(*moves), table


# -- parts of the bar ------------------------------------------------------------------------------


@routes("/models", methods=["GET"])
async def models(desk: Desk) -> tuple:
    """The model menu, and a banner when the chosen model cannot answer."""
    menu = await desk.chat.choice.menu()
    names = {name: (name, name == menu.chosen) for name in menu.names}
    sizes = {w: (f"{w // 1024}K", w == desk.chat.choice.window()) for w in Choice.WINDOWS}
    return (
        *(
            c.Select(
                *(c.Option(text, value=v, selected=on) for v, (text, on) in options.items()),
                name=name,
                aria_label=name.title(),
                hx_post="/choice",
                hx_swap="none",
            )
            for name, options in (("model", names), ("window", sizes))
        ),
        c.Span(menu.notice, role="alert"),
    )


@routes("/choice", methods=["POST"])
def choice(desk: Desk, model: str = "", window: int = 0) -> FT:
    """Choose the model or its window, from the next message on."""
    if model:
        desk.settings["model"] = model
    if window in Choice.WINDOWS:
        desk.settings["window_tokens"] = window
    return Meter(hx_swap_oob="true")


@routes("/meter", methods=["GET"])
async def meter(desk: Desk) -> FT:
    """What fills the window of the model that would answer now."""
    pack, window = await desk.packed()
    used = pack.total_tokens
    title = f"{used:,} of {window:,} tokens are source; {window - used:,} are left for talk"
    bar = c.Progress(value=used, max=window, aria_label="Window")
    return c.A(bar, c.Small(f"{100 * used // window} %"), href="/context", title=title)


# -- buttons ---------------------------------------------------------------------------------------


@routes("/discussion", methods=["POST"])
def new_discussion(desk: Desk) -> HtmxResponseHeaders:
    return HtmxResponseHeaders(redirect=f"/discussion/{desk.discussions.start()}")


@routes("/proposal/{number}/{what}", methods=["POST"])
async def act(desk: Desk, number: int, what: str, sha: str = "") -> Response:
    await desk.act(number, what, sha)
    return Response(status_code=204)


@routes("/changes/{what}", methods=["POST"])
async def move(desk: Desk, what: str) -> HtmxResponseHeaders:
    await desk.step(what)
    return HtmxResponseHeaders(refresh="true")


@routes("/healthz", methods=["GET"])
async def healthz(desk: Desk, request: Request) -> Response:
    """Whether this body can serve: every module of ours imports, and the first page renders."""
    for room in ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            await asyncio.to_thread(importlib.import_module, module.name)
    to_xml(Shell(home(desk), request))
    return JSONResponse({"ok": True, "commit": desk.repo.head(), "pid": os.getpid()})
