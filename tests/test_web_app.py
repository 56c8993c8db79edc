"""web/app.py: only this machine's own page gets through."""

import asyncio

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from web.app import Guard, Receive, Scope, Send

TOKEN, PORT = "secret-token", 5001
HOST = f"127.0.0.1:{PORT}"
COOKIE = {"cookie": f"workbench-{PORT}={TOKEN}"}


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def ask(method: str = "GET", path: str = "/", **headers: str) -> httpx.Response:
    guard = Guard(hello, TOKEN, PORT)
    sent = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(guard)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            return await client.request(method, path, headers=sent)

    return asyncio.run(run())


def test_the_page_gets_its_token_and_may_then_change_things() -> None:
    """# Q3"""
    page = ask()
    assert page.status_code == 200
    cookie = page.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert ask("POST", **COOKIE).status_code == 200
    assert ask("POST", x_workbench_token=TOKEN).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"cookie": f"workbench-{PORT}=wrong"},
        {**COOKIE, "origin": "http://evil.example"},
        {**COOKIE, "origin": "null"},
        {**COOKIE, "origin": "http://127.0.0.1:8000"},
        {**COOKIE, "host": "evil.example"},
        {**COOKIE, "host": "127.0.0.1:8000"},
        {**COOKIE, "sec-fetch-site": "cross-site"},
        {**COOKIE, "sec-fetch-site": "same-site"},
    ],
)
def test_a_change_from_elsewhere_is_refused(headers: dict[str, str]) -> None:
    """# Q3"""
    assert ask("POST", **headers).status_code == 403


def test_a_rebound_name_cannot_even_read() -> None:
    assert ask(host="attacker.example:5001").status_code == 403
    assert ask(host="localhost:5001").status_code == 200


def test_pages_forbid_foreign_script_and_framing() -> None:
    policy = ask().headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy


def test_a_foreign_websocket_is_closed_before_it_opens() -> None:
    """# Q3"""
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    for origin, cookie in ((b"http://evil.example", COOKIE["cookie"]), (None, "")):
        head = [(b"host", HOST.encode()), (b"cookie", cookie.encode())]
        head += [(b"origin", origin)] if origin else []
        scope = {"type": "websocket", "path": "/ws", "headers": head}
        asyncio.run(Guard(hello, TOKEN, PORT)(scope, None, send))
    assert [message["code"] for message in sent] == [1008, 1008]


NAMES = st.sampled_from([b"host", b"origin", b"cookie", b"sec-fetch-site", b"x-workbench-token"])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NAMES, st.binary(max_size=60)), max_size=6), st.booleans())
def test_no_header_however_malformed_raises_or_opens(
    pairs: list[tuple[bytes, bytes]], post: bool
) -> None:
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/", "method": "POST" if post else "GET", "headers": pairs}
    asyncio.run(Guard(hello, TOKEN, PORT)(scope, None, send))
    assert sent[0]["status"] == 403
