"""The context page in a real browser: what fills the window is seen, steered and tried."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.ollama_server import OllamaServer
from tests.running import ROOT, Running, wait_until
from tests.test_e2e_loop import ask, browser, ollama, page  # noqa: F401

HOSTILE = "a<img src=x onerror=\"document.title='pwned'\">.py"
FILES = {"app.py": "def start():\n    return 'begun'\n", "big.txt": "word word\n" * 3_000}
FILES |= {HOSTILE: "x = '</pre><script>document.title=1</script>'\n"}


@pytest.fixture
def bench(
    git_repo: Callable[..., Path],
    tmp_path: Path,
    ollama: OllamaServer,  # noqa: F811
) -> Iterator[Running]:
    home = tmp_path / "home"
    home.mkdir()
    target = git_repo(FILES | {".gitignore": "private.txt\n"})
    (target / "private.txt").write_text("the harbour plan\n")
    with Running(ROOT, home, ollama=ollama.url, repo=target) as bench:
        yield bench


def told(bench: Running, **how: str | int) -> str:
    """The exact text, as a download gives it."""
    answer = httpx.get(f"{bench.url}/context", params={"plain": 1, **how}, trust_env=False)
    return answer.text


def row(page: Page, path: str):  # noqa: ANN201, F811
    return page.locator(".context tr").filter(has=page.get_by_role("link", name=path, exact=True))


def test_what_fills_the_window_is_shown_and_every_file_with_its_form(
    page: Page,  # noqa: F811
    bench: Running,
) -> None:
    """# G1, G4: hostile names stay text."""
    page.goto(f"{bench.url}/context")
    fills = page.locator(".context table").first
    for name in ("frame", "full", "discussion", "reply", "free"):
        expect(fills.get_by_role("cell", name=name, exact=True)).to_be_visible()
    numbers = fills.locator("td:last-child").all_text_contents()
    assert sum(int(number.replace(",", "")) for number in numbers) == 131_072
    files = page.locator(".context table").last
    expect(files.locator("tr").first).to_contain_text("big.txt")
    page.get_by_role("link", name="path", exact=True).click()
    expect(files.locator("tr").nth(1)).to_contain_text(HOSTILE)
    expect(row(page, "app.py")).to_contain_text("full")
    assert page.title() == "Context" and page.locator("main img, main script").count() == 0


def test_a_file_is_dropped_and_pinned_by_keyboard(page: Page, bench: Running) -> None:  # noqa: F811
    """# G6"""
    page.goto(f"{bench.url}/context")
    row(page, "app.py").get_by_role("button", name="Drop").focus()
    page.keyboard.press("Enter")
    expect(row(page, "app.py").get_by_role("cell", name="path", exact=True)).to_be_visible()
    assert "return 'begun'" not in told(bench)
    expect(row(page, "app.py").get_by_role("button", name="Drop")).to_be_focused()
    row(page, "app.py").get_by_role("button", name="Auto").click()
    expect(row(page, "app.py").get_by_role("cell", name="full", exact=True)).to_be_visible()
    assert "return 'begun'" in told(bench)


def test_a_file_or_a_text_is_attached_and_removed(page: Page, bench: Running) -> None:  # noqa: F811
    """# G6"""
    page.goto(f"{bench.url}/context")
    page.fill("[name=name]", "private.txt")
    page.get_by_role("button", name="Attach").click()
    expect(page.locator(".context li")).to_contain_text("private.txt")
    page.fill("[name=name]", "<b>letter</b>")
    page.fill("main [name=text]", "dear <i>machine</i>")
    page.get_by_role("button", name="Attach").click()
    expect(page.locator(".context li")).to_have_count(2)
    assert "the harbour plan" in told(bench) and "dear <i>machine</i>" in told(bench)
    page.get_by_role("button", name="Remove").first.click()
    expect(page.locator(".context li")).to_have_count(1)
    assert "the harbour plan" not in told(bench)
    page.fill("[name=name]", "nothing.txt")
    page.get_by_role("button", name="Attach").click()
    expect(page.locator("#notice")).to_contain_text("nothing.txt")


def test_what_is_remembered_is_seen_and_edited(
    page: Page,  # noqa: F811
    bench: Running,
    ollama: OllamaServer,  # noqa: F811
) -> None:
    """# L11: a new note reaches the running discussion after its pack."""
    page.goto(bench.url)
    ask(page, "hello")
    expect(page.locator(".message.assistant.done")).to_have_count(1)
    ask(page, "remember that boats are blue")
    expect(page.locator(".message.assistant").last).to_contain_text("Noted")
    page.goto(f"{bench.url}/context")
    expect(page.locator("[name=notes]")).to_have_value("- boats are blue\n")
    page.fill("[name=notes]", "- boats are green\n")
    page.locator("#notes").click()
    wait_until(lambda: ollama.chats, "the first requests")
    ask(page, "and now?")
    expect(page.locator(".message.assistant.done")).to_have_count(3)
    sent = [request.body["messages"] for request in ollama.chats]
    assert sent[2][: len(sent[1])] == sent[1] and "boats are green" in sent[2][-1]["content"]


def test_a_window_and_a_question_are_tried_without_changing_anything(
    page: Page,  # noqa: F811
    bench: Running,
) -> None:
    """# G5: what another budget would hold, against what is told now."""
    page.goto(f"{bench.url}/context")
    page.select_option("main [name=window]", "8192")
    page.fill("main [name=ask]", "where does it start?")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("Of 8,192")
    expect(page.locator("main")).to_contain_text("against now")
    expect(row(page, "big.txt").locator("mark")).to_contain_text("full →")
    assert told(bench).count("word word") == 3_000 > told(bench, window=8192).count("word word")
    page.goto(f"{bench.url}/context?window=99999999999&ask={'x' * 500}")
    expect(page.locator("h1")).to_have_text("Context")


def test_the_exact_text_is_copied_and_downloaded(page: Page, bench: Running) -> None:  # noqa: F811
    """# G7"""
    page.goto(f"{bench.url}/context")
    page.locator("summary", has_text="The exact text").click()
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == told(bench)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_text() == told(bench)


def test_the_exact_request_of_any_reply_is_what_was_sent_to_the_byte(
    page: Page,  # noqa: F811
    bench: Running,
    ollama: OllamaServer,  # noqa: F811
) -> None:
    """# O4: after a renewal too; and a message that no model was asked for says so."""
    page.goto(bench.url)
    for count, text in enumerate(("first", "second", "third ✓"), 1):
        ask(page, text)
        expect(page.locator(".message.assistant.done")).to_have_count(count)
        if count == 2:
            page.goto(f"{bench.url}/context")
            page.get_by_role("button", name="Renew").click()
            expect(page.locator("#renew")).to_be_focused()
    links = page.get_by_role("link", name="Exact request").all()
    assert len(links) == 3
    for link, request in zip(links, ollama.chats):
        shown = httpx.get(bench.url + link.get_attribute("href"), trust_env=False)
        assert shown.content == request.raw
        json.loads(shown.content)
    for number in ("1", "99"):
        answer = httpx.get(f"{bench.url}/message/{number}/request", trust_env=False)
        assert "Not possible" in answer.text


def test_the_page_fits_a_phone_and_has_no_inline_style(page: Page, bench: Running) -> None:  # noqa: F811
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(f"{bench.url}/context")
    expect(row(page, "app.py").get_by_role("button", name="Pin")).to_be_visible()
    wide = page.locator("#main").evaluate("e => e.scrollWidth - e.clientWidth")
    assert wide <= 0 and page.locator("[style]").count() == 0


def test_steering_needs_the_pages_own_click(bench: Running) -> None:
    """# Q3"""
    assert (
        httpx.post(f"{bench.url}/context", data={"act": "renew"}, trust_env=False).status_code
        == 403
    )


def test_too_much_that_is_pinned_can_be_unpinned(page: Page, bench: Running) -> None:  # noqa: F811
    page.goto(f"{bench.url}/context?window=8192")
    row(page, "big.txt").get_by_role("button", name="Pin").click()
    expect(page.locator("main")).to_contain_text("What is pinned takes")
    page.get_by_role("button", name="Auto").click()
    expect(row(page, "big.txt")).to_be_visible()
