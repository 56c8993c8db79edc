"""What the browser loads: our own script and style, and the pinned libraries.

Knows nothing of pages. Invariant: when the libraries are installed, no tag names another host;
when they are not, the same versions come from FastHTML's usual CDN, held to their integrity.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from fasthtml import components as c
from fasthtml.core import FT
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

ROOT = Path(__file__).resolve().parent.parent
STATIC, VENDOR = Path(__file__).with_name("static"), ROOT / "node_modules"
OWN = ("app.css", "app.js")
CDN = "https://cdn.jsdelivr.net"
# of package.json's assets, those that the page needs now
LIBRARIES = {
    "@picocss/pico": "/css/pico.min.css",
    "htmx.org": "/dist/htmx.min.js",
    "htmx-ext-ws": "/dist/ws.min.js",
}


class Assets(NamedTuple):
    tags: list[FT]  # for a page's head
    cdn: str  # the foreign host that they name, "" for none
    version: str  # changes with our own files


def read() -> Assets:
    package = json.loads((ROOT / "package.json").read_text())
    local = all((VENDOR / (name + path)).is_file() for name, path in LIBRARIES.items())
    version = hashlib.sha256(b"".join((STATIC / name).read_bytes() for name in OWN)).hexdigest()
    tags = []
    for name, path in LIBRARIES.items():
        if local:
            tags.append(_tag(f"/vendor/{name}{path}"))
        else:
            address = f"{CDN}/npm/{name}@{package['dependencies'][name]}{path}"
            integrity = package["assets"][name + path]
            tags.append(_tag(address, integrity=integrity, crossorigin="anonymous"))
    tags += [_tag("/code.css"), *(_tag(f"/static/{name}?v={version[:12]}") for name in OWN)]
    tags.append(c.Link(rel="icon", href="/static/favicon.svg"))
    return Assets(tags, "" if local else CDN, version[:12])


def mounts() -> list[Mount]:
    folders = {"/static": STATIC, "/vendor": VENDOR}
    return [Mount(at, StaticFiles(directory=f, check_dir=False)) for at, f in folders.items()]


def _tag(address: str, **more: str) -> FT:
    if ".css" in address:
        return c.Link(rel="stylesheet", href=address, **more)
    return c.Script(src=address, defer=True, **more)
