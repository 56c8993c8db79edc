"""The context page: what fills the window and why, steered and tried.

Invariant: where no other window or question is tried, the text is what the next request begins
with.
"""

import asyncio
import json
from collections import Counter
from dataclasses import asdict
from urllib.parse import urlencode

from fasthtml import components as c
from fasthtml.core import FT, APIRouter
from starlette.responses import Response

from chat import Choice, room
from context import count, later
from shapes import Pack, WorkbenchError
from web.desk import Desk
from web.markdown import source_url
from web.page import SWAP, Meter, Shell

FORMS = {"full": "Pin", "outline": "Outline", "path": "Drop", "": "Automatic"}
routes = APIRouter(body_wrap=Shell)


async def _told(desk: Desk, window: int = 0, ask: str = "") -> tuple[Pack, dict[str, int]]:
    """What the model that would answer now is told, and what fills its window."""
    speaker, _ = await desk.chat.choice.speaker()
    briefing, size = desk.chat.briefing, window or speaker.window_tokens
    _, sent = briefing.sent("discussion", desk.current())
    kept = sent and sent.key == briefing.key(speaker) and size == speaker.window_tokens
    if kept and not ask:
        pack = sent.pack
    else:
        pack = await asyncio.to_thread(briefing.pack, speaker.name, size, ask)
    fills = Counter({"frame": pack.frame_tokens})
    for file in pack.files:
        fills[file.form] += file.tokens
    fills["discussion"] = later.size(*sent.messages[1:]) if sent else 0
    fills["reply"] = size - room(size)
    fills["free"] = max(size - fills.total(), 0)
    return pack, fills


@routes("/meter", methods=["GET"])
async def meter(desk: Desk) -> FT:
    _, fills = await _told(desk)
    size, left = fills.total(), fills["free"] + fills["reply"]
    bar = c.Progress(value=size - left, max=size, aria_label="Window")
    title = f"{left:,} of {size:,} tokens are left (our count)"
    return c.A(bar, c.Small(f"{100 - 100 * left // size} %"), href="/context", title=title)


@routes("/context", methods=["GET"])
async def context(desk: Desk, window: int = 0, ask: str = "", sort: str = "") -> tuple:
    now, _ = await _told(desk)
    pack, fills = await _told(desk, window, ask)
    size, at, rects, legend = fills.total(), 0, [], []
    for n, (name, tokens) in enumerate(fills.items()):
        tint = {"height": 1, "opacity": 1 - n / len(fills)}
        rects.append(c.Rect(x=at, width=tokens, **tint))
        legend.append(c.Li(c.Svg(c.Rect(width=1, **tint), viewBox="0 0 1 1"), f"{name} {tokens:,}"))
        at += tokens
    was, rows = {file.path: file.form for file in now.files}, []
    for file in sorted(pack.files, key=lambda it: (sort != "path" and -it.tokens, it.path)):
        acts = (Act(f"{form} {file.path}", text) for form, text in FORMS.items())
        form = file.form
        if form != was.get(file.path):
            form = c.Mark(f"{was.get(file.path)} → {form}")
        link = c.A(file.path, href=source_url(file.path))
        rows.append(c.Tr(*map(c.Td, (link, form, f"{file.tokens:,}", file.reason, (*acts,)))))
    steer = desk.chat.briefing.steer()
    text = f"/context/text?{urlencode({'window': window, 'ask': ask})}"
    attached = (
        c.Li(f"{name} ({count(text):,}) ", Act(f"remove {name}", "Remove"))
        for name, text in steer.attached
    )
    sizes = (c.Option(f"{w:,}", value=w, selected=w == size) for w in Choice.WINDOWS)
    told = f"{pack.total_tokens:,} tokens of {size:,} are told before the talk (our count)."
    if pack != now:
        told += f" Tried: {pack.total_tokens - now.total_tokens:+,} against now."
    page = (
        c.H1("Context"),
        c.Svg(*rects, viewBox=f"0 0 {size} 1", preserveAspectRatio="none"),
        c.Ul(*legend, cls="row"),
        c.P(told),
        c.Div(
            c.Input(name="ask", value=ask, placeholder="Try a question", aria_label="Question"),
            c.Select(*sizes, name="window", aria_label="Window"),
            Act("try", "Try"),
            Act("renew", "Renew"),
            cls="row",
        ),
        c.Details(
            c.Summary("The exact text"),
            c.Button("Copy", cls="copy", data_from=text, type="button"),
            c.A("Download", href=text, download="context.txt"),
            c.Pre(pack.text),
        ),
        c.H2("Notes"),
        c.Textarea(steer.notes, name="notes", aria_label="Notes"),
        Act("notes", "Save"),
        c.H2("Attached"),
        c.Ul(*attached),
        c.Input(name="name", placeholder="A path, or a name for a text", aria_label="Name"),
        c.Textarea(name="text", placeholder="The text, if it is no file", aria_label="Text"),
        Act("attach", "Attach"),
        c.H2("Files"),
        c.Table(*rows),
    )
    return c.Title("Context"), c.Form(*page, cls="context", hx_post="/context", hx_target="#main")


def Act(value: str, text: str) -> FT:
    return c.Button(text, name="act", value=value, id=value)


@routes("/context/text", methods=["GET"])
async def text(desk: Desk, window: int = 0, ask: str = "") -> Response:
    pack, _ = await _told(desk, window, ask)
    return Response(pack.text, media_type="text/plain")


@routes("/context", methods=["POST"])
async def steer(
    desk: Desk, act: str, window: int, ask: str, notes: str, name: str, text: str
) -> tuple:
    what, _, about = act.partition(" ")
    match what:
        case "renew":
            desk.settings.insert("briefing", discussion=desk.current())
        case "notes":
            desk.chat.briefing.notes.write_text(notes)
        case "attach":
            file = desk.repo.text(name)
            if not (text or file):
                raise WorkbenchError(f"{name!r} has no text.", "Give a path, or paste a text.")
            _put(desk, "attached", name, text or file.text)
        case "remove":
            _put(desk, "attached", about, "")
        case "full" | "outline" | "path" | "":
            _put(desk, "shown_as", about, what)
    return *await context(desk, window, ask), Meter(**SWAP)


def _put(desk: Desk, setting: str, name: str, value: str) -> None:
    known = {**desk.settings.get(setting, {}), name: value}
    desk.settings[setting] = {name: value for name, value in known.items() if value}


@routes("/message/{number}/request", methods=["GET"])
def request(desk: Desk, number: int) -> Response:
    """To the byte, what a model was sent for a reply."""
    facts = json.loads(desk.discussions.message(number)["facts"])
    _, sent = desk.chat.briefing.sent("id", facts.get("briefing", 0))
    if not sent or "request" not in facts:
        raise WorkbenchError("No model was asked for this.", "Choose a reply of a model.")
    messages = [asdict(message) for message in sent.messages[: facts["sent"]]]
    body = json.loads(facts["request"]) | {"messages": messages}
    return Response(json.dumps(body), media_type="application/json")
