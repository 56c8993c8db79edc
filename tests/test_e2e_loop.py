"""What a person does, in a real browser: ask, read, copy, apply, see the new version, undo.

Each test runs the real program on a copy of its own source.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import run_git
from tests.ollama_server import OllamaServer
from tests.running import Poll, Running, copy_of_ourselves, wait_until

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync"
PATIENCE_MS = 40_000
BROKEN = """I will do it.

```diff
--- a/chat/__init__.py
+++ b/chat/__init__.py
@@ -1,3 +1,5 @@
 \"\"\"One turn from question to stored answer; discussions that outlive every process.\"\"\"
 
+raise RuntimeError("boom at import")
+
 from chat.briefing import ASSISTANT, room
```
"""
RETITLED = """The heading of the home page becomes a greeting.

```diff
--- a/web/views.py
+++ b/web/views.py
@@ -1,3 +1,3 @@
-        c.H1(desk.title),
+        c.H1("Hello from the new body"),
         c.P(f"{files} of ", c.Strong(repo.name), f" on branch {branch}. {mine}"),
```

That is all.
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "Chromium is missing: .ci/run installs it, or set CHROMIUM to its path"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test when it asks any other machine for something."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page = context.new_page()
    foreign, errors = [], []
    page.on("request", lambda r: None if "//127.0.0.1:" in r.url else foreign.append(r.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "response",
        lambda r: errors.append(f"{r.status} {r.url}") if r.status in (404, 500) else None,
    )
    yield page
    assert foreign == [], "# Q1, N6: the page asked another machine"
    assert errors == []
    context.close()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return copy_of_ourselves(tmp_path / "workbench")


@pytest.fixture
def start(tmp_path: Path, program: Path) -> Iterator[Callable[..., Running]]:
    """Start the copy; a second call in one test is a restart with the same home."""
    open_ones: list[Running] = []

    def run(**options: object) -> Running:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        open_ones.append(Running(program, home, **options).__enter__())
        return open_ones[-1]

    yield run
    for running in open_ones:
        running.__exit__()


@pytest.fixture
def ollama() -> Iterator[OllamaServer]:
    with OllamaServer() as server:
        yield server


def ask(page: Page, text: str) -> None:
    page.fill("#draft", text)
    page.press("#draft", "Enter")


def tree(program: Path) -> str:
    return run_git(program, "write-tree") + run_git(program, "status", "--porcelain")


def test_the_whole_loop_without_any_model(
    page: Page, program: Path, start: Callable[..., Running]
) -> None:
    """# A12, J1, J10, J11, J13, K6, L1: ask, read, change, apply, new body, undo, reload."""
    bench, before = start(), tree(program)
    first = bench.body()
    page.goto(bench.url)
    ask(page, "Which file restarts the server?")
    answer = page.locator(".message.assistant").first
    expect(answer).to_contain_text("supervisor/")
    expect(answer).to_contain_text("built-in engine")
    expect(page.locator("#draft")).to_have_value("")
    answer.locator("a[href*='/source/supervisor/']").first.click()
    expect(page.locator(".source .here")).to_be_visible()
    expect(page.locator(".message.assistant")).to_have_count(1)

    ask(page, "rename the function plural to how_many")
    card = page.locator(".card")
    expect(card).to_contain_text("how_many")
    if picture := os.environ.get("WORKBENCH_SCREENSHOT"):
        page.goto(bench.url)
        expect(page.locator("#meter progress")).to_be_visible()
        expect(card).to_contain_text("how_many")
        page.screenshot(path=picture)
    assert tree(program) == before, "# J12: nothing is written before the click"
    with Poll(bench.url) as poll:
        card.get_by_role("button", name="Apply").click()
        page.fill("#draft", "half-typed")
        expect(card.locator(".badge.applied")).to_be_visible()
        wait_until(lambda: bench.body() != first, "the new body")
    assert poll.failed == [] and poll.count > 5
    expect(page.locator("#draft")).to_have_value("half-typed")
    assert "def how_many" in (program / "shapes.py").read_text()
    assert run_git(program, "branch", "--show-current").startswith("workbench/")
    assert "Workbench-Model: built-in" in run_git(program, "log", "-1", "--format=%B")

    second = bench.body()
    card.get_by_role("button", name="Undo").click()
    expect(card.locator(".badge.undone")).to_be_visible()
    wait_until(lambda: bench.body() != second, "the body of the old tree")
    assert tree(program) == before
    assert run_git(program, "branch").split() == ["*", "main"]
    page.reload()
    expect(page.locator(".message")).to_have_count(4)
    expect(page.locator("#draft")).to_have_value("half-typed")


def test_a_models_diff_is_applied_and_the_page_becomes_the_new_version(
    page: Page, program: Path, start: Callable[..., Running], ollama: OllamaServer
) -> None:
    """# J1, J11, L1, L3: the loop with a language model behind Ollama's protocol."""
    bench = start(ollama=ollama.url)
    ollama.say(RETITLED)
    page.goto(bench.url)
    page.evaluate("window.marker = 'the same page'")
    expect(page.locator("#models select").first).to_have_value("gemma3:4b")
    ask(page, "Greet me on the home page")
    card = page.locator(".card")
    expect(card).to_contain_text("Hello from the new body")
    expect(page.locator(".message.assistant")).to_contain_text("That is all.")
    sent = ollama.chats[-1].body
    assert sent["options"]["num_ctx"] == 131_072
    assert (
        sent["messages"][0]["role"] == "system" and "Crash course" in sent["messages"][0]["content"]
    )
    assert sent["messages"][-1] == {"role": "user", "content": "Greet me on the home page"}
    card.get_by_role("button", name="Apply").click()
    expect(page.locator("#main h1")).to_have_text("Hello from the new body")
    expect(page.locator(".message")).to_have_count(2)
    assert page.evaluate("window.marker") == "the same page"
    trailers = run_git(program, "log", "-1", "--format=%B")
    assert "Workbench-Model: gemma3:4b" in trailers and "Workbench-Digest: " in trailers


def test_a_patch_that_breaks_at_import_is_taken_back_and_the_page_answers_throughout(
    page: Page, program: Path, start: Callable[..., Running], ollama: OllamaServer
) -> None:
    """# K2, K3, K4, J10: the traceback is shown, with a button that asks for a repair."""
    bench, before = start(ollama=ollama.url), tree(program)
    body = bench.body()
    ollama.say(BROKEN)
    page.goto(bench.url)
    ask(page, "Break yourself")
    card = page.locator(".card")
    with Poll(bench.url) as poll:
        card.get_by_role("button", name="Apply").click()
        expect(card.locator(".badge.failed")).to_be_visible()
    assert poll.failed == [] and poll.count > 5
    expect(card.locator(".reason")).to_contain_text("boom at import")
    assert tree(program) == before and bench.body() == body
    ollama.say("Sorry, I have no better idea.")
    card.get_by_role("button", name="Ask for another try").click()
    expect(page.locator(".message.assistant").last).to_contain_text("no better idea")
    assert "boom at import" in ollama.chats[-1].body["messages"][-1]["content"]


def test_a_broken_diff_is_refused_with_its_reason(
    page: Page, program: Path, start: Callable[..., Running], ollama: OllamaServer
) -> None:
    bench, before = start(ollama=ollama.url), tree(program)
    lost = RETITLED.replace("H1(desk.title)", "H1(no_such_thing)")
    ollama.say(lost)
    page.goto(bench.url)
    ask(page, "Greet me")
    card = page.locator(".card.refused")
    expect(card).to_contain_text("web/views.py")
    expect(card.get_by_role("button", name="Apply")).to_have_count(0)
    assert tree(program) == before


def test_a_file_saved_by_hand_is_served_and_a_broken_one_is_not(
    page: Page, program: Path, start: Callable[..., Running]
) -> None:
    """# K1, K2, K3, K4, K6"""
    bench = start()
    page.goto(bench.url)
    views = program / "web" / "views.py"
    good = views.read_text()
    body = bench.body()
    views.write_text(good.replace("def home(", "def home(("))
    told = page.locator(".message.system")
    expect(told).to_contain_text("web/views.py")
    expect(told).to_contain_text("^")
    assert bench.body() == body
    views.write_text(good.replace("H1(desk.title)", 'H1("Saved by hand")'))
    expect(page.locator("#main h1")).to_have_text("Saved by hand")


def test_a_reply_that_streams_during_a_swap_comes_whole_in_every_tab(
    page: Page, browser: Browser, program: Path, start: Callable[..., Running], ollama: OllamaServer
) -> None:
    """# J11, K6: the old body finishes it; a tab that is opened meanwhile follows."""
    bench = start(ollama=ollama.url)
    first, gates = bench.body(), [threading.Event() for _ in range(3)]
    ollama.say([x for n, gate in enumerate(gates) for x in (f"word{n} ", gate)])
    page.goto(bench.url)
    ask(page, "Talk")
    reply = page.locator(".message.assistant")
    expect(reply).to_contain_text("word0")
    views = program / "web/views.py"
    views.write_text(views.read_text().replace("H1(desk.title)", 'H1("The next body")'))
    wait_until(lambda: bench.body() != first, "the new body")
    late = browser.new_page()
    late.goto(bench.url)
    expect(late.locator("#main h1")).to_have_text("The next body")
    gates[0].set()
    for tab in (page, late):
        expect(tab.locator(".message.assistant")).to_contain_text("word0 word1")
    for gate in gates[1:]:
        gate.set()
    for tab in (page, late):
        expect(tab.locator(".message.assistant.done")).to_contain_text("word0 word1 word2")
        expect(tab.locator(".message")).to_have_count(2)
    expect(page.locator("#main h1")).to_have_text("The next body")
    late.close()


def test_a_reply_streams_and_can_be_stopped(
    page: Page, start: Callable[..., Running], ollama: OllamaServer
) -> None:
    """# A1, A8: the text grows before the end; Stop keeps the words and stops the model."""
    bench = start(ollama=ollama.url)
    gates = [threading.Event() for _ in range(4)]
    ollama.say([x for n, gate in enumerate(gates) for x in (f"word{n} ", gate)])
    page.goto(bench.url)
    ask(page, "Talk")
    reply = page.locator(".message.assistant")
    for n, gate in enumerate(gates[:3]):
        expect(reply).to_contain_text(f"word{n}")
        expect(reply).not_to_contain_text(f"word{n + 1}")
        gate.set()
    reply.get_by_role("button", name="Stop").click()
    expect(reply).to_contain_text("You stopped this reply.")
    expect(reply).to_contain_text("word3")
    assert ollama.chats[-1].gone.wait(10)
    page.reload()
    expect(page.locator(".message.assistant")).to_contain_text("word0 word1 word2")


def test_code_is_copied_to_the_byte(
    page: Page, start: Callable[..., Running], ollama: OllamaServer
) -> None:
    """# A10, A11, Q2: tabs, blank lines, the last newline, `&<>`; hostile text stays inert."""
    bench = start(ollama=ollama.url)
    code = "def f():\n\treturn 1 < 2 & 3 > 2\n\n\n# é 漢 \"'\n"
    ollama.say(
        [f"# Heading\n\n<img src=x onerror=\"document.title='pwned'\">\n\n```python\n{code}```\n"]
    )
    page.goto(bench.url)
    ask(page, "Code, please")
    reply = page.locator(".message.assistant")
    expect(reply.locator("h1")).to_have_text("Heading")
    reply.get_by_role("button", name="Copy").click()
    expect(reply.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == code
    expect(reply).to_contain_text("<img src=x")
    assert "pwned" not in page.title()


def test_discussions_outlive_the_program_and_a_closed_ollama_is_told(
    page: Page, start: Callable[..., Running], ollama: OllamaServer
) -> None:
    """# A6, L1, L2: restart with everything there; Ollama gone, then back, without a restart."""
    bench = start(ollama=ollama.url)
    page.goto(bench.url)
    ollama.say("I am the model.")
    ask(page, "Who are you?")
    expect(page.locator(".message.assistant")).to_contain_text("I am the model.")
    page.locator("select[name=model]").select_option("gemma3:4b")
    ollama.stop()
    ask(page, "what is in file shapes.py?")
    second = page.locator(".message.assistant").nth(1)
    expect(second).to_contain_text("Ollama is not running")
    expect(second).to_contain_text("WorkbenchError")
    ollama.start()
    ollama.say("Back again.")
    ask(page, "Are you there?")
    expect(page.locator(".message.assistant").nth(2)).to_contain_text("Back again.")
    bench.__exit__()
    again = start(ollama=ollama.url)
    page.goto(again.url)
    expect(page.locator(".message")).to_have_count(6)


def test_an_unknown_address_has_the_layout_and_the_nearest_pages(
    browser: Browser, start: Callable[..., Running]
) -> None:
    """# N7, A2"""
    bench = start()
    page = browser.new_page()
    assert page.goto(f"{bench.url}/contekst").status == 404
    assert page.locator("#main a[href='/context']").count() == 1
    assert page.locator("#draft").is_visible()
    for address in ("/", "/source", "/context", "/source/web/app.py?line=3#L3"):
        assert page.goto(bench.url + address).status == 200
        assert page.locator("#draft").is_visible()
    page.close()
