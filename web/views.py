"""The views of the main area: home, source, context, changes.

Each is a pure function from the desk to components, and the route that shows it. Knows nothing of
the chat beside it.
"""

import asyncio
import importlib
import json
import pkgutil
from pathlib import Path
from sqlite3 import Row
from typing import TYPE_CHECKING

from fasthtml.components import (
    H1,
    H2,
    A,
    Button,
    Code,
    Div,
    Li,
    NotStr,
    Ol,
    P,
    Progress,
    Small,
    Strong,
    Table,
    Tbody,
    Td,
    Th,
    Thead,
    Tr,
    Ul,
)
from fasthtml.core import FT, APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from chat import Choice
from repo import Repo
from shapes import Pack, WorkbenchError, plural
from web.markdown import code_html, source_url
from web.page import View, page

if TYPE_CHECKING:
    from web.app import Desk

OWN_ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("chat", "context", "models", "patches", "plugins", "rag_index", "repo", "upgrades", "web")
EXAMPLES = (
    "Which file restarts the server?",
    "What is in file {file}?",
    "What changed lately?",
    "Remove unused imports",
)
routes = APIRouter()


def is_own(repo: Repo) -> bool:
    """Whether the repository before us is this program itself."""
    return repo.root == OWN_ROOT


def import_everything() -> None:
    """Import every module of every room: one that cannot be imported must not go live."""
    for room in ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, room + "."):
            importlib.import_module(module.name)


def digest_of(row: Row) -> str:
    """The weights that wrote the message of a proposal's row."""
    return str(json.loads(row["facts"]).get("digest") or "")


def repair_request(row: Row) -> str:
    """What to ask the model after its edit was refused or did not wake."""
    reason = row["error"] or json.loads(row["detail"])["reason"]
    return (
        f"Your last edit could not be used. This is why:\n\n{reason}\n\n"
        "Please send the whole corrected edit again, as one unified diff."
    )


async def packed(desk: "Desk") -> tuple[Pack, int]:
    """What the model that would answer now is told, and the size of its window. The built-in
    engine has no window: the largest is shown for it."""
    speaker, _ = await desk.chat.choice.speaker()
    usable, largest = desk.chat.usable(speaker), Choice.WINDOWS[-1]
    window = min(speaker.window_tokens, largest)
    return await asyncio.to_thread(desk.chat.packed, speaker, min(usable, largest)), window


# -- home ------------------------------------------------------------------------------------------


@routes("/", methods=["GET"])
async def home(request: Request) -> Response:
    desk = request.app.state.desk
    return page(desk, home_view(desk), desk.current())


@routes("/discussion/{number}", methods=["GET"])
async def discussion(request: Request, number: int) -> Response:
    """The home page with this discussion open; it stays open on the other pages."""
    desk = request.app.state.desk
    desk.settings["discussion"] = desk.discussions.get(number)["id"]
    return page(desk, home_view(desk), number)


def home_view(desk: "Desk") -> View:
    repo, files = desk.repo, desk.repo.files()
    code = next((path for path in files if path.endswith(".py")), files[0] if files else "README")
    mine = " This is the source of the program you are using." if desk.own else ""
    commits = [Tr(Td(Code(c.sha[:8])), Td(c.subject), Td(Small(c.date[:10]))) for c in repo.log(8)]
    return View(
        "Home",
        (
            H1(desk.title),
            P(
                f"{plural(len(files), 'file')} of ",
                Strong(repo.name),
                f" on branch {repo.branch() or 'none (detached)'}.{mine}",
            ),
            P(
                "Ask on the right. A proposed change comes as a card; nothing happens to a file "
                "before you press Apply, and Undo takes it back exactly."
            ),
            H2("Try"),
            Div(*(Example(text.format(file=code)) for text in EXAMPLES), cls="examples"),
            H2("Newest commits"),
            Table(Tbody(*commits)) if commits else P("No commit yet."),
        ),
    )


def Example(text: str) -> FT:
    return Button(text, type="button", cls="example quiet", data_text=text)


# -- source ----------------------------------------------------------------------------------------


@routes("/source", methods=["GET"])
async def source_list(request: Request) -> Response:
    desk = request.app.state.desk
    links = [Li(A(path, href=source_url(path))) for path in desk.repo.files()]
    return page(desk, View("Source", (H1("Source"), Ul(*links, cls="files"))), desk.current())


@routes("/source/{path:path}", methods=["GET"])
async def source(request: Request, path: str, line: int = 0) -> Response:
    """One tracked file, every line with its number and its own address."""
    desk = request.app.state.desk
    if path not in desk.repo.files():
        raise WorkbenchError(f"{path} is not a tracked file.", "The Source page lists them all.")
    file = desk.repo.text(path)
    if file is None:
        raise WorkbenchError(
            f"{path} is not shown: it is binary, very large, a link, or may hold secrets.",
            "Open it with a program of its own.",
        )
    # the formatter closes its spans at each line's end, so lines can be taken apart
    lines = code_html(file.text, filename=path).removesuffix("\n").split("\n")
    rows = [
        Li(NotStr(html or " "), id=f"L{n}", cls="here" if n == line else None)
        for n, html in enumerate(lines, 1)
    ]
    view = View(path, (H1(path), Ol(*rows, cls="source code")))
    return page(desk, view, desk.current())


# -- context ---------------------------------------------------------------------------------------


@routes("/context", methods=["GET"])
async def context(request: Request) -> Response:
    """What the model is told: every file with its form and tokens, and the exact text."""
    desk = request.app.state.desk
    pack, window = await packed(desk)
    rows = [
        Tr(Td(A(f.path, href=source_url(f.path))), Td(f.form), Td(f"{f.tokens:,}", cls="number"))
        for f in sorted(pack.files, key=lambda f: (f.form != "full", -f.tokens))
    ]
    parts = (
        H1("Context"),
        P(
            f"{pack.total_tokens:,} tokens of the pack's {pack.budget_tokens:,}; the window holds "
            f"{window:,}. Counted with {pack.encoding}."
        ),
        Progress(value=pack.total_tokens, max=window),
        P(A("The exact text", href="/context/text")),
        Table(Thead(Tr(Th("File"), Th("Form"), Th("Tokens"))), Tbody(*rows)),
    )
    return page(desk, View("Context", parts), desk.current())


@routes("/context/text", methods=["GET"])
async def context_text(request: Request) -> Response:
    pack, _ = await packed(request.app.state.desk)
    return PlainTextResponse(pack.text.encode("utf-8", "replace"))


# -- changes ---------------------------------------------------------------------------------------


@routes("/changes", methods=["GET"])
async def changes(request: Request) -> Response:
    """What was applied, newest first, with the ways back and forth."""
    desk = request.app.state.desk
    rows = [
        Tr(Td(Code(row.commit[:8])), Td(row.subject), Td(row.model), Td(row.state))
        for row in desk.branch.changes()
    ]
    moves = [
        Button(text, hx_post=f"/changes/{what}", hx_swap="none", cls="quiet", title=title)
        for what, text, title in (
            ("undo", "Undo", "Take the newest change back"),
            ("redo", "Redo", "Bring the last undone change again"),
            ("keep", "Keep", "Fast-forward your own branch to here"),
        )
    ]
    head = Tr(Th("Commit"), Th("Change"), Th("Model"), Th("State"))
    table = Table(Thead(head), Tbody(*rows)) if rows else P("Nothing has been applied here yet.")
    parts = (H1("Changes"), P(f"On branch {desk.repo.branch() or 'none'}."), Div(*moves), table)
    return page(desk, View("Changes", parts), desk.current())
