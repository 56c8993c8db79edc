"""Builds the app: what the pages stand on, and the routes.

Knows the rooms below and the ways between them; each handler is a few lines. Invariants: a route
that changes anything answers POST only; an edit is applied only by a click that names the exact
diff that was shown.
"""

import asyncio
import difflib
import os
import uuid
from collections.abc import Awaitable, Callable

from fasthtml.components import A, Div, Li, Option, P, Progress, Select, Small, Span, Ul
from fasthtml.core import FT, APIRouter, FastHTML
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from chat import Chat, Choice, Event
from patches import Branch
from shapes import Applied, Provenance, WorkbenchError
from web import views
from web.assets import Assets
from web.body import Control
from web.chat_pane import ChatSocket, Hub, Messages, fragment
from web.guard import App, Guard
from web.markdown import Markdown
from web.page import Version, View, page

routes = APIRouter()


class Desk:
    """What every handler works with: one per body."""

    def __init__(self, chat: Chat, branch: Branch, control: Control, app_name: str) -> None:
        self.chat = chat
        self.repo = chat.repo
        self.discussions = chat.discussions
        self.settings = self.discussions.state
        self.branch = branch
        self.control = control
        self.own = views.is_own(self.repo)
        self.title = app_name if self.own else f"{app_name} · {self.repo.name}"
        self.assets = Assets()
        self.markdown = Markdown(self._paths)
        self.body_id = uuid.uuid4().hex[:12]
        self.hub = Hub(self)
        self.moving = asyncio.Lock()  # one change of the tree at a time
        self._known: tuple[float, frozenset[str]] = (0.0, frozenset())
        chat.publish = self.hub.publish

    def _paths(self) -> frozenset[str]:
        """Tracked paths; asked for once a second at most, as every rendered block wants them."""
        now = asyncio.get_running_loop().time()
        if now - self._known[0] > 1:
            self._known = now, frozenset(self.repo.files())
        return self._known[1]

    def current(self) -> int:
        """The discussion that is open: the last one that was chosen, else the newest."""
        ids = [row["id"] for row in self.discussions.all()] or [self.discussions.start()]
        chosen = self.settings.get("discussion")
        return chosen if chosen in ids else ids[0]

    def is_tip(self, commit: str) -> bool:
        return bool(commit) and self.repo.head() == commit

    def meter_slot(self, **swap: str) -> FT:
        return Div(id="meter", hx_get="/meter", hx_trigger="load", **swap)

    def everything(self, discussion: int) -> str:
        """What a page gets when it connects: the whole discussion, and which body this is."""
        bubbles = Div(*Messages(self, discussion), id="messages", hx_swap_oob="innerHTML")
        return fragment(bubbles, Version(self, hx_swap_oob="true"))

    def show(self, proposal: int) -> None:
        """Send a proposal's card, as it is now, to every page that shows it."""
        row = self.discussions.proposal(proposal)
        self.hub.publish(Event(row["discussion"], "message", row["message"]))

    # -- applying ------------------------------------------------------------------------------

    async def apply(self, proposal: int, sha: str) -> None:
        """Check the edit again, apply it, and have the supervisor wake the new body."""
        row = self.discussions.proposal(proposal)
        async with self.moving:
            verdict = await self.chat.judge(proposal)
            if not verdict.ok or self.discussions.proposal(proposal)["sha"] != sha:
                self.show(proposal)
                raise WorkbenchError(
                    "The files have changed since this diff was shown, and nothing was applied.",
                    "Read the card again: it shows what would be applied now.",
                )
            question = self._question(row["message"])
            who = Provenance(row["model"], views.digest_of(row), f"{row['discussion']}")
            applied = await asyncio.to_thread(self.branch.apply, verdict, question, who)
            status = "waking" if self.own else "applied"
            self._moved(proposal, status, applied)
        self.show(proposal)
        self.control.look()

    def _question(self, message: int) -> str:
        """What was asked for when this reply was given: the change's title."""
        discussion = self.discussions.message(message)["discussion"]
        asked = [r for r in self.discussions.messages(discussion) if r["role"] == "user"]
        return next((r["content"] for r in reversed(asked) if r["id"] < message), "a change")

    def _moved(self, proposal: int, status: str, applied: Applied) -> None:
        self.discussions.state.amend(
            "proposal",
            proposal,
            status=status,
            branch=applied.branch,
            commit_sha=applied.commit,
            error="",
        )

    async def step(self, what: str) -> None:
        """Undo, redo or keep the newest change; the cards follow what git says."""
        async with self.moving:
            before = self.repo.head() or ""
            await asyncio.to_thread(getattr(self.branch, what))
            after = self.repo.head() or ""
        touched = []
        if what == "undo":
            touched = [(row, "undone") for row in self.discussions.of_commit(before)]
        elif what == "redo":
            touched = [(row, "applied") for row in self.discussions.of_commit(after)]
        for row, status in touched:
            self.discussions.state.amend("proposal", row["id"], status=status)
        for row in self.discussions.of_commit(before) + self.discussions.of_commit(after):
            self.show(row["id"])
        self.control.look()

    def heard(self, news: dict) -> None:
        """Something from the supervisor about the body that should follow this one."""
        waking = self.discussions.with_status("waking")
        if "failed" in news:
            if waking:
                self.turning = asyncio.create_task(self._take_back(waking, news["failed"]))
            else:
                self._tell(f"The saved files do not run; this body goes on.\n\n{_told(news)}")
        elif "unchanged" in news:
            self._settle("applied")
        elif "go" in news:
            self.discussions.mend()
            self._settle("applied")

    def _settle(self, status: str) -> None:
        for row in self.discussions.with_status("waking"):
            self.discussions.state.amend("proposal", row["id"], status=status)
            self.show(row["id"])

    async def _take_back(self, waking: list, failed: dict) -> None:
        """The new body did not wake: the tree goes back, the card tells why."""
        async with self.moving:
            for row in reversed(waking):
                error = _told({"failed": failed})
                try:
                    await asyncio.to_thread(self.branch.undo)
                except WorkbenchError as trouble:
                    error += f"\n\nThe change could not be taken back: {trouble}"
                self.discussions.state.amend("proposal", row["id"], status="failed", error=error)
                self.show(row["id"])
        self.control.look()

    def _tell(self, text: str) -> None:
        self.chat.tell(self.current(), text)


def _told(news: dict) -> str:
    failed = news["failed"]
    return f"{failed.get('stage', 'boot')}: {failed.get('error', '')}".strip()


def make_app(
    chat: Chat, branch: Branch, control: Control, token: str, app_name: str, port: int
) -> tuple[App, Desk]:
    """The guarded app of one body, and the desk that the supervisor's news go to."""
    app = FastHTML(
        default_hdrs=False,
        secret_key=token,
        sess_cls=None,
        exception_handlers={404: not_found, WorkbenchError: refused},
    )
    desk = Desk(chat, branch, control, app_name)
    app.state.desk = desk
    routes.to_app(app)
    views.routes.to_app(app)
    app.router.routes.append(Route("/static/{name:path}", desk.assets.serve))
    app.router.routes.append(WebSocketRoute("/ws", ChatSocket(desk).__call__))
    return Guard(app, token, port, desk.assets.cdn), desk


def desk_of(request: Request) -> Desk:
    return request.app.state.desk


async def refused(request: Request, error: Exception) -> Response:
    """A WorkbenchError as the sentence and the hint that it is."""
    assert isinstance(error, WorkbenchError)
    if request.headers.get("hx-request"):
        return PlainTextResponse(str(error), status_code=409)
    view = View("Not possible", (P(error.message), P(error.hint)), 409)
    return page(desk_of(request), view, desk_of(request).current())


async def not_found(request: Request, error: Exception) -> Response:
    """404 in the page's own layout, with the nearest addresses that exist."""
    desk = desk_of(request)
    known = {route.path for route in request.app.routes if isinstance(route, Route)}
    known = {path for path in known if "{" not in path and "GET" in _methods(request.app, path)}
    near = difflib.get_close_matches(request.url.path, sorted(known), 3, 0.3) or ["/"]
    links = Ul(*(Li(A(path, href=path)) for path in near))
    view = View("Not found", (P(f"There is no page {request.url.path}. Near it:"), links), 404)
    return page(desk, view, desk.current())


def _methods(app: FastHTML, path: str) -> set[str]:
    return {
        m for r in app.routes if isinstance(r, Route) and r.path == path for m in r.methods or ()
    }


@routes("/healthz", methods=["GET"])
async def healthz(request: Request) -> Response:
    """Whether this body can serve: every module of ours imports, and the first page renders."""
    desk = desk_of(request)
    await asyncio.to_thread(views.import_everything)
    page(desk, views.home_view(desk), desk.current())
    return JSONResponse({"ok": True, "commit": desk.repo.head(), "pid": os.getpid()})


@routes("/models", methods=["GET"])
async def models(request: Request) -> Response:
    """The model menu, and a banner when the chosen model cannot answer."""
    menu = await desk_of(request).chat.choice.menu()
    names = [Option(name, value=name, selected=name == menu.chosen) for name in menu.names]
    asked = desk_of(request).settings.get("window_tokens", Choice.WINDOWS[-1])
    sizes = [Option(f"{w // 1024}K", value=w, selected=w == asked) for w in Choice.WINDOWS]
    parts = (
        Select(*names, name="model", aria_label="Model", hx_post="/choice", hx_swap="none"),
        Select(*sizes, name="window", aria_label="Window", hx_post="/choice", hx_swap="none"),
        *([Span(menu.notice, cls="banner", role="alert")] if menu.notice else []),
    )
    return HTMLResponse(fragment(*parts))


@routes("/choice", methods=["POST"])
async def choice(request: Request, model: str = "", window: int = 0) -> Response:
    """Choose the model or its window; from the next message on."""
    desk = desk_of(request)
    if model:
        desk.settings["model"] = model
    if window in Choice.WINDOWS:
        desk.settings["window_tokens"] = window
    return HTMLResponse(fragment(desk.meter_slot(hx_swap_oob="true")))


@routes("/meter", methods=["GET"])
async def meter(request: Request) -> Response:
    """What fills the window of the model that would answer now."""
    desk = desk_of(request)
    pack, window = await views.packed(desk)
    talk = max(0, window - pack.total_tokens)
    text = f"{pack.total_tokens:,} of {window:,} tokens: source; {talk:,} left for talk"
    bar = Progress(value=pack.total_tokens, max=window, aria_label="Window")
    share = Small(f"{100 * pack.total_tokens // window} %")
    return HTMLResponse(fragment(A(bar, share, href="/context", title=text)))


@routes("/discussion", methods=["POST"])
async def new_discussion(request: Request) -> Response:
    number = desk_of(request).discussions.start()
    return Response(headers={"HX-Redirect": f"/discussion/{number}"})


@routes("/proposal/{number}/{what}", methods=["POST"])
async def act(request: Request, number: int, what: str, sha: str = "") -> Response:
    """Every button of a review card."""
    desk = desk_of(request)
    row = desk.discussions.proposal(number)
    acts: dict[str, Callable[[], Awaitable[object]]] = {
        "apply": lambda: desk.apply(number, sha),
        "check": lambda: desk.chat.judge(number),
        "undo": lambda: desk.step("undo"),
        "keep": lambda: desk.step("keep"),
    }
    if what in acts:
        await acts[what]()
    elif what == "dismiss":
        desk.settings.amend("proposal", number, status="dismissed")
    elif what == "repair":
        desk.chat.say(row["discussion"], views.repair_request(row))
    desk.show(number)
    return Response(status_code=204)


@routes("/changes/{what}", methods=["POST"])
async def move(request: Request, what: str) -> Response:
    """Undo, redo or keep from the list of changes."""
    if what not in ("undo", "redo", "keep"):
        raise WorkbenchError(f"{what!r} is not a move.", "It is undo, redo or keep.")
    await desk_of(request).step(what)
    return Response(headers={"HX-Refresh": "true"})
