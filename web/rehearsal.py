"""Looks at this program as a visitor would. Knows only what every page of it holds."""

import json
import re
from collections.abc import Callable

import httpx
from websockets.sync.client import connect

PAGE_S, ANSWER_S = 35, 30
QUESTION = "what is in file workbench.py?"


def visit(url: str, say: Callable[[str], None]) -> bool:
    """Whether each page that the first one links to is shown, and a question is answered."""
    try:
        start = httpx.HTTPTransport(retries=6)  # as long as nobody listens
        with httpx.Client(base_url=url, timeout=PAGE_S, transport=start) as client:
            home = client.get("/")
            for path in ["/", *sorted({*re.findall(r'href="(/\w+)"', home.text)})]:
                page = client.get(path)
                say(f"{path}: {page.status_code}{page.text[-4000:] * page.is_error}")
                page.raise_for_status()
            cookie = {"Cookie": home.headers["set-cookie"].partition(";")[0]}
            socket = url.replace("http", "ws", 1) + re.search('ws-connect="/(.*?)"', home.text)[1]
            with connect(socket, additional_headers=cookie, proxy=None) as chat:
                chat.recv(ANSWER_S)  # what was said before
                chat.send(json.dumps({"text": QUESTION}))
                while "message assistant done" not in chat.recv(ANSWER_S):
                    pass
        say(f"{QUESTION} It answered.")
    except Exception as error:  # whatever it is, it has failed
        say(f"It failed: {error!r}")
        return False
    return True
