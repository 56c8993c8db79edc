"""What a page's head holds: settings, our own script and style, and the pinned libraries.

Invariant: where npm has installed the libraries, no tag names another host; else the same versions
come from FastHTML's usual CDN, held to their integrity.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from fasthtml import components as c
from fasthtml.core import FT, charset, viewport

ROOT = Path(__file__).resolve().parent.parent
STATIC, VENDOR = Path(__file__).with_name("static"), ROOT / "node_modules"
CDN = "https://cdn.jsdelivr.net"
OWN = ("/code.css", "/static/app.css", "/static/app.js")
LIBRARIES = {  # the page needs these now, of package.json's assets
    "@picocss/pico": "/css/pico.min.css",
    "htmx.org": "/dist/htmx.min.js",
    "htmx-ext-ws": "/dist/ws.min.js",
}
HTMX = {"allowEval": False, "allowScriptTags": False, "includeIndicatorStyles": False}
HTMX |= {"attributesToSettle": ["class"]}
HEAD = (
    charset,
    viewport,
    c.Meta(name="color-scheme", content="light dark"),
    c.Meta(name="htmx-config", content=json.dumps(HTMX)),
    c.Link(rel="icon", href="/static/favicon.svg"),
)


class Assets(NamedTuple):
    tags: list[FT]  # for a page's head
    cdn: str  # the foreign host that they name, "" for none
    version: str  # changes with our own files


def read() -> Assets:
    package = json.loads((ROOT / "package.json").read_text())
    cdn = "" if all((VENDOR / (k + path)).is_file() for k, path in LIBRARIES.items()) else CDN
    tags = list(HEAD)
    for name, path in LIBRARIES.items():
        whole = {"integrity": package["assets"][name + path], "crossorigin": "anonymous"}
        remote = f"{CDN}/npm/{name}@{package['dependencies'][name]}{path}"
        tags.append(_tag(remote, **whole) if cdn else _tag(f"/vendor/{name}{path}"))
    own = b"".join((STATIC / name).read_bytes() for name in ("app.css", "app.js"))
    return Assets([*tags, *map(_tag, OWN)], cdn, hashlib.sha256(own).hexdigest())


def _tag(address: str, **more: str) -> FT:
    is_style = address.endswith(".css")
    link = c.Link(rel="stylesheet", href=address, **more)
    return link if is_style else c.Script(src=address, defer=True, **more)
