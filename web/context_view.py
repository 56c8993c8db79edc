"""The context page: what fills the window and why, steered and tried.

Invariant: where no other window or question is tried, the text is what the next request begins
with.
"""

import asyncio
import json
from collections import Counter
from typing import Any
from urllib.parse import urlencode

from fasthtml import components as c
from fasthtml.core import FT, APIRouter
from starlette.responses import Response

from chat import Choice, room
from context import count, later
from shapes import Message, WorkbenchError
from web.desk import Desk
from web.markdown import source_url
from web.page import SWAP, Meter, Shell

FORMS = {"full": "Pin", "outline": "Outline", "path": "Drop", "": "Auto"}
routes = APIRouter(body_wrap=Shell)


async def _told(desk: Desk, window: int = 0, ask: str = "") -> tuple[dict[str, Any], Counter[str]]:
    """What the model that would answer now is told, and what fills its window."""
    speaker, _ = await desk.chat.choice.speaker()
    briefing, size = desk.chat.briefing, window if window > 0 else speaker.window_tokens
    steer = briefing.steer()
    sent = briefing.sent("discussion", desk.current())
    kept = sent and sent["key"] == briefing.key(speaker) and size == speaker.window_tokens
    if kept and not ask:
        pack = sent["pack"]
    else:
        pack = await asyncio.to_thread(briefing.pack, speaker.name, size, ask)
    added = count(steer.notes) + sum(count(text) for _, text in steer.attached)
    fills = Counter({"frame": pack["frame_tokens"] - added, "notes, attached": added})
    for file in pack["files"]:
        fills[file["form"]] += file["tokens"]
    talk = (Message(*each) for each in sent["messages"][1:]) if sent else ()
    fills.update(discussion=later.size(*talk), reply=size - room(size))
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
async def context(
    desk: Desk, window: int = 0, ask: str = "", sort: str = "", plain: bool = False
) -> tuple | Response:
    steer = desk.chat.briefing.steer()
    try:
        pack, fills = await _told(desk, window, ask)
        now = (await _told(desk))[0] if window or ask else pack
    except WorkbenchError as error:  # too much is pinned
        pins = (c.Li(path, Act(f" {path}", "Auto")) for path in steer.forms)
        return c.Title("Context"), Page(c.P(str(error)), c.Ul(*pins))
    if plain:
        return Response(pack["text"], media_type="text/plain")
    size = fills.total()
    was, rows = {it["path"]: it["form"] for it in now["files"]}, []
    for it in sorted(pack["files"], key=lambda it: (sort != "path" and -it["tokens"], it["path"])):
        path, form = it["path"], it["form"]
        acts = [Act(f"{name} {path}", text) for name, text in FORMS.items()]
        if was.get(path) != form:
            form = c.Mark(f"{was.get(path)} → {form}")
        cells = c.A(path, href=source_url(path)), form, f"{it['tokens']:,}", it["reason"], (*acts,)
        rows.append(c.Tr(*map(c.Td, cells)))
    attached = (
        c.Li(f"{name}, {count(text):,} tokens ", Act(f"remove {name}", "Remove"))
        for name, text in steer.attached
    )
    sizes = (c.Option(f"{w:,}", value=w, selected=w == size) for w in Choice.WINDOWS)
    more = pack["total_tokens"] - now["total_tokens"]
    text = f"/context?{urlencode({'window': window, 'ask': ask, 'plain': 1})}"
    page = (
        c.H1("Context"),
        c.Table(
            c.Tr(c.Td(name), c.Td(c.Progress(value=tokens, max=size)), c.Td(f"{tokens:,}"))
            for name, tokens in fills.items()
        ),
        c.P(f"Of {size:,} tokens by our count. Packed: {more:+,} against now."),
        c.Div(
            c.Input(name="ask", value=ask, placeholder="A question to try"),
            c.Select(*sizes, name="window", aria_label="Window"),
            Act("try", "Try"),
            Act("renew", "Renew"),
            cls="row",
        ),
        c.Details(
            c.Summary("The exact text"),
            c.Button("Copy", cls="copy", data_from=text, type="button"),
            c.A("Download", href=text, download="context.txt"),
            c.Pre(pack["text"]),
        ),
        c.Label("Notes", c.Textarea(steer.notes, name="notes")),
        Act("notes", "Save"),
        c.Ul(*attached),
        c.Input(name="name", placeholder="A path, or a name for a text"),
        c.Textarea(name="text", placeholder="The text, if it is no file"),
        Act("attach", "Attach"),
        c.P("Files by ", c.A("tokens", href="?"), " or ", c.A("path", href="?sort=path")),
        c.Table(*rows),
    )
    return c.Title("Context"), Page(*page)


def Page(*content: FT) -> FT:
    return c.Form(*content, cls="context", hx_post="/context", hx_target="#main")


def Act(value: str, text: str) -> FT:
    return c.Button(text, name="act", value=value, id=value)


@routes("/context", methods=["POST"])
async def steer(
    desk: Desk,
    act: str,
    window: int = 0,
    ask: str = "",
    notes: str = "",
    name: str = "",
    text: str = "",
) -> tuple:
    what, _, about = act.partition(" ")
    match what:
        case "renew":
            desk.settings.insert("briefing", discussion=desk.current())
        case "notes":
            desk.chat.briefing.notes.write_text(notes)
        case "attach":
            if not (text := text or getattr(desk.repo.text(name), "text", "")):
                raise WorkbenchError(f"{name!r} has no text.", "Give a path, or paste a text.")
            _put(desk, "attached", name, text)
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
    sent = desk.chat.briefing.sent("id", facts.get("briefing", 0))
    if not sent or "request" not in facts:
        raise WorkbenchError("No model was asked for this.", "Choose a reply of a model.")
    messages = [{"role": role, "content": text} for role, text in sent["messages"]]
    body = json.loads(facts["request"]) | {"messages": messages[: facts["sent"]]}
    return Response(json.dumps(body), media_type="application/json")
