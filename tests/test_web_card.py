"""The review card, in a real browser: a reply with a diff, and all that a person can do about it.

Each test runs the real program on a small repository of its own.
"""

import difflib
import re
import subprocess
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import pytest
from fasthtml.core import to_xml
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Locator, Page, expect

from chat import Discussions
from shapes import Note, Verdict
from state import State
from tests.conftest import run_git
from tests.ollama_server import OllamaServer
from tests.running import ROOT, Running, wait_until
from tests.test_e2e_loop import ask, browser, ollama, page  # noqa: F401
from web.card import ReviewCard, _lines
from web.hunks import join, split

APP = [f"value_{n} = {n}" for n in range(60)]
NOTES = "# Notes\n\nOne line.\nAnother one.\n"
EDITED = [
    *APP[:4],
    "value_4 = 44",
    *APP[5:30],
    "value_30 = 300",
    *APP[31:58],
    "last = 1",
    *APP[58:],
]
HOSTILE = "<img src=x onerror=\"document.title='pwned'\"> & \u202e hidden"


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def diff(path: str, old: str, new: str) -> str:
    lines = difflib.unified_diff(
        old.splitlines(True), new.splitlines(True), f"a/{path}", f"b/{path}"
    )
    return f"diff --git a/{path} b/{path}\n{''.join(lines)}"


TWO_FILES = diff("app.py", text(APP), text(EDITED))
TWO_FILES += diff("notes.md", NOTES, NOTES.replace("Another one", HOSTILE))
REPLY = f"Here it is.\n\n```diff\n{TWO_FILES}```\n\nThat is all.\n"
LOST = "```diff\n--- a/app.py\n+++ b/app.py\n@@ -1,1 +1,1 @@\n-nothing like this\n+x\n```\n"


@pytest.fixture
def target(git_repo: Callable[..., Path]) -> Path:
    return git_repo({"app.py": text(APP), "notes.md": NOTES})


@pytest.fixture
def shown(
    page: Page,  # noqa: F811
    ollama: OllamaServer,  # noqa: F811
    tmp_path: Path,
    target: Path,
) -> Iterator[Callable[[str], Locator]]:
    """Let the model give a reply; the card that comes of it."""
    home = tmp_path / "home"
    home.mkdir()
    with Running(ROOT, home, ollama=ollama.url, repo=target) as bench:
        page.goto(bench.url)

        def run(reply: str) -> Locator:
            ollama.say(reply)
            ask(page, "Change it")
            return page.locator(".card").last

        yield run


def hunk(card: Locator, number: int) -> Locator:
    return card.locator(".hunk").nth(number)


def test_a_hunk_left_out_is_checked_at_once_and_not_applied(
    page: Page,  # noqa: F811
    shown: Callable[[str], Locator],
    target: Path,
) -> None:
    """# J1, J2, J10: the rest is copied, and applied, to the byte."""
    card = shown(REPLY)
    expect(page.locator(".message.assistant")).to_contain_text("That is all.")
    expect(card.locator(".hunk")).to_have_count(4)
    expect(card.locator("mark").first).to_be_visible()
    box = hunk(card, 1).get_by_role("checkbox")
    box.focus()
    page.keyboard.press("Space")
    expect(hunk(card, 1)).to_have_class("hunk out")
    expect(box).not_to_be_checked()
    expect(box).to_be_focused()
    card.locator(".file").nth(1).get_by_role("checkbox").uncheck()
    expect(hunk(card, 3)).to_have_class("hunk out")
    assert (target / "app.py").read_text() == text(APP), "# J12"

    card.get_by_role("button", name="Copy").click()
    expect(card.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    subprocess.run(["git", "apply", "--check"], cwd=target, input=copied.encode(), check=True)
    card.get_by_role("button", name="Apply").click()
    expect(card.locator(".badge.applied")).to_be_visible()
    assert (target / "app.py").read_text() == text([*EDITED[:30], APP[30], *EDITED[31:]]), (
        "hunks 1 and 3, not 2"
    )
    assert (target / "notes.md").read_text() == NOTES
    expect(hunk(card, 1)).to_have_class("hunk out")
    expect(card.get_by_role("checkbox")).to_have_count(0)


def test_a_hunk_taken_in_again_is_applied(shown: Callable[[str], Locator], target: Path) -> None:
    card = shown(REPLY)
    hunk(card, 0).get_by_role("checkbox").uncheck()
    expect(hunk(card, 0)).to_have_class("hunk out")
    hunk(card, 0).get_by_role("checkbox").check()
    expect(hunk(card, 0)).to_have_class("hunk")
    card.get_by_role("button", name="Apply").click()
    expect(card.locator(".badge.applied")).to_be_visible()
    assert (target / "app.py").read_text() == text(EDITED)


def test_to_leave_everything_out_is_refused_and_changes_nothing(
    page: Page,  # noqa: F811
    shown: Callable[[str], Locator],
) -> None:
    card = shown(REPLY)
    files = card.locator(".file").get_by_role("checkbox")
    files.nth(0).uncheck()
    expect(card.locator(".out")).to_have_count(3)
    files.nth(1).click()
    expect(page.locator("#notice")).to_contain_text("Nothing of this edit would be left")
    expect(files.nth(1)).to_be_checked()


def test_a_hunk_is_edited_in_place_and_its_counts_are_repaired(
    shown: Callable[[str], Locator], target: Path
) -> None:
    card = shown(REPLY)
    hunk(card, 1).get_by_role("checkbox").uncheck()
    expect(hunk(card, 1)).to_have_class("hunk out")
    hunk(card, 2).get_by_text("Edit").click()
    area = hunk(card, 2).get_by_role("textbox")
    area.fill(area.input_value().replace("+last = 1", "+last = 2\n+one_more = 3"))
    hunk(card, 2).get_by_role("button", name="Save").click()
    expect(hunk(card, 2)).to_contain_text("one_more = 3")
    expect(hunk(card, 1)).to_have_class("hunk out")
    card.get_by_role("button", name="Apply").click()
    expect(card.locator(".badge.applied")).to_be_visible()
    wanted = text([*EDITED[:30], APP[30], *EDITED[31:]]).replace(
        "last = 1", "last = 2\none_more = 3"
    )
    assert (target / "app.py").read_text() == wanted


def test_an_edit_that_no_longer_parses_is_refused_and_can_be_mended(
    shown: Callable[[str], Locator],
) -> None:
    card = shown(REPLY)
    hunk(card, 0).get_by_text("Edit").click()
    area = hunk(card, 0).get_by_role("textbox")
    good = area.input_value()
    area.fill(good.replace("+value_4 = 44", "+value_4 = = 44"))
    hunk(card, 0).get_by_role("button", name="Save").click()
    expect(card.locator(".badge.refused")).to_be_visible()
    expect(card.locator(".reason")).to_contain_text("app.py")
    expect(card.get_by_role("button", name="Apply")).to_have_count(0)
    hunk(card, 0).get_by_text("Edit").click()
    hunk(card, 0).get_by_role("textbox").fill(good)
    hunk(card, 0).get_by_role("button", name="Save").click()
    expect(card.get_by_role("button", name="Apply")).to_be_visible()


def test_side_by_side_is_kept_and_the_checks_can_be_read(
    page: Page,  # noqa: F811
    shown: Callable[[str], Locator],
) -> None:
    card = shown(REPLY)
    placed = card.locator("details.badge", has_text="placed")
    placed.get_by_text("placed").click()
    expect(placed).to_contain_text("app.py: line 2")
    card.get_by_role("button", name="Side by side").click()
    row = card.locator(".side > div:has(.add)").first
    expect(row).to_be_visible()
    left, right = row.locator(".del, .add").all()
    assert left.bounding_box()["y"] == right.bounding_box()["y"]
    expect(row.locator(".del mark")).to_have_text("4")
    expect(row.locator(".add mark")).to_have_text("44")
    page.reload()
    card.get_by_role("button", name="Unified").click()
    expect(card.locator(".diff.side")).to_have_count(0)


def test_hostile_text_stays_text_and_hidden_characters_are_seen(
    page: Page,  # noqa: F811
    shown: Callable[[str], Locator],
) -> None:
    """# Q2"""
    card = shown(REPLY)
    expect(hunk(card, 3)).to_contain_text("<img src=x onerror")
    expect(hunk(card, 3)).to_contain_text("⟨202E⟩ hidden")
    expect(card.locator("img")).to_have_count(0)
    assert "pwned" not in page.title()


def test_the_reason_of_a_rejection_reaches_the_model(
    page: Page,  # noqa: F811
    shown: Callable[[str], Locator],
    ollama: OllamaServer,  # noqa: F811
) -> None:
    card = shown(REPLY)
    card.get_by_placeholder("Reason").fill("Keep the numbers small")
    card.get_by_role("button", name="Reject").click()
    expect(card.locator(".badge.dismissed")).to_be_visible()
    ask(page, "And now?")
    sent = ollama.wait_for_chats(2)[-1].body["messages"]
    assert any("Keep the numbers small" in message["content"] for message in sent)
    assert sent[-1]["content"] == "And now?"


def test_another_try_is_asked_for_with_the_reason(
    page: Page,  # noqa: F811
    shown: Callable[[str], Locator],
    ollama: OllamaServer,  # noqa: F811
) -> None:
    """Never by itself, unless the person says so; then three times for one question."""
    card = shown(LOST)
    expect(card.locator(".reason")).to_contain_text("app.py")
    assert len(ollama.chats) == 1
    box = card.get_by_role("checkbox")
    box.check()
    card.get_by_placeholder("Reason").fill("Be careful")
    card.get_by_role("button", name="Ask for another try").click()
    expect(card.locator(".badge.superseded")).to_be_visible()
    expect(card.get_by_role("button")).to_have_count(0)
    told = ollama.wait_for_chats(2)[-1].body["messages"][-1]["content"]
    assert "Be careful" in told and "nothing like this" in told
    expect(page.locator(".message.assistant")).to_have_count(2)

    for _ in range(4):
        ollama.say(LOST)
    ask(page, "Once more")
    expect(page.locator(".card")).to_have_count(5)
    # questions are answered in turn: a fourth try would come before this one
    ask(page, "Enough")
    expect(page.locator(".message.done.assistant")).to_have_count(7)
    asked = [chat.body["messages"][-1]["content"] for chat in ollama.chats[2:]]
    assert [asked[0], asked[-1]] == ["Once more", "Enough"]
    assert len(asked) == 5 and all("nothing like this" in again for again in asked[1:-1])


def test_tests_are_run_with_progress_and_can_be_stopped(
    shown: Callable[[str], Locator], target: Path
) -> None:
    """# J7"""
    slow = "import time\n\n\ndef test_slow():\n    time.sleep(600)\n"
    for name, body in (("test_app.py", "def test_app():\n    import app\n"), ("test_b.py", slow)):
        (target / name).write_text(body)
    run_git(target, "add", "-A")
    run_git(target, "commit", "-q", "-m", "tests")
    card = shown(REPLY)
    card.get_by_role("button", name="Run tests").click()
    expect(card.locator(".tests")).to_contain_text("test_app.py .")
    card.get_by_role("button", name="Stop").click()
    expect(card.locator(".tests")).to_have_count(0)
    expect(card.locator(".badge", has_text="tests")).to_have_count(0)
    run_git(target, "rm", "-q", "test_b.py")
    run_git(target, "commit", "-q", "-m", "no slow test")
    card.get_by_role("button", name="Run tests").click()
    expect(card.locator(".badge.fine", has_text="tests")).to_be_visible()
    wait_until(lambda: not run_git(target, "status", "--porcelain"), "a clean tree")


LINES = st.lists(st.text("ab -+@\\d", max_size=6), max_size=40).map(text)


@given(st.lists(st.tuples(LINES, LINES), min_size=1, max_size=3))
def test_the_parts_of_a_diff_are_the_diff(files: list[tuple[str, str]]) -> None:
    whole = "".join(diff(f"f{n}.txt", *pair) for n, pair in enumerate(files))
    parts = split(whole)
    assert join(parts) == whole
    assert join([]) == "" and split(f"A word before it.\n{whole}") == []


@given(LINES, LINES)
def test_every_line_of_a_hunk_is_shown(old: str, new: str) -> None:
    for _, body, _ in split(diff("a.txt", old, new)):
        if body:
            html = _lines("a.txt", body).replace("<mark>", "").replace("</mark>", "")
            told = [unescape(line) for line in re.findall(r'<p class="add"[^>]*>(.*?)</p>', html)]
            added = [line[1:] for line in body.split("\n")[1:] if line[:1] == "+"]
            assert told == added


def test_line_ends_and_odd_hunks_do_no_harm() -> None:
    body = "@@ -1,2 +1,2 @@ def f():\n-a\r\n+b\r\n\\ No newline at end of file\n"
    html = _lines("x.txt", body)
    assert "⟨no newline⟩" in html and "\r" not in html
    assert "c&lt;d" in _lines("x.unknown", "@@ broken\n+c<d\n?e\n\n")


def test_what_asks_twice_needs_a_second_click(tmp_path: Path) -> None:
    """# H4"""
    discussions = Discussions(State(tmp_path))
    message = discussions.add(discussions.start(), "assistant", "")
    notes = [Note("asks twice", False, "tests/test_a.py: an assertion is gone")]
    verdict = Verdict(True, "", (), notes, TWO_FILES, "diff")
    row = discussions.proposal(discussions.propose(message, REPLY, verdict))
    desk = SimpleNamespace(discussions=discussions, settings={}, tests={})
    html = to_xml(ReviewCard(desk, row))
    assert html.count("hx-confirm") == 1
    assert 'hx-confirm="tests/test_a.py: an assertion is gone\nApply all the same?"' in html
