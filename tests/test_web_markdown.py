"""web/markdown.py: what a model says is shown as Markdown and never becomes alive."""

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from web.markdown import Markdown, code_html

KNOWN = {"web/app.py", "README.md", "a b.md"}
MARKDOWN = Markdown(KNOWN.__contains__)


def text_of(fragment: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", fragment))


def test_the_usual_elements_are_rendered() -> None:
    """# A10"""
    source = "# Title\n\n- a\n  - b\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n```python\nx = 1\n```\n"
    shown = MARKDOWN.html(source)
    for tag in (
        "<h1>",
        "<ul>\n<li>a\n<ul>",
        "<table>",
        "</button><code>",
        '<span class="mi">1</span>',
    ):
        assert tag in shown


@pytest.mark.parametrize(
    "hostile",
    [
        "<img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
        "![x](http://evil.example/p.png)",
        "[x](javascript:alert(1))",
        "[x](blob:http://127.0.0.1/1)",
        "[x](data:text/html,<script>alert(1)</script>)",
        '<div hx-get="/x" hx-trigger="load">',
        '```"><img src=x onerror=alert(1)>\nx\n```',
        "<a href=x onclick=alert(1)>x</a>",
        '[x](http://e.example "\\" onmouseover=\\"alert(1)")',
        '[x](http://e.example "</a> web/app.py:1 onmouseover=alert(1) x=")',
        '[x](http://e.example "<pre> <img src=x onerror=alert(1)>")',
    ],
)
def test_hostile_markdown_stays_inert_text(hostile: str) -> None:
    """# A10, Q2"""
    shown = MARKDOWN.html(hostile)
    tags = re.findall(r"<(\w+)([^>]*)>", shown)
    assert {tag for tag, _ in tags} <= {"p", "a", "div", "button", "pre", "code", "span"}
    attributes = " ".join(rest for _, rest in tags)
    for name in re.findall(r"""(\w[\w-]*)=(?:"[^"]*")""", attributes):
        assert name in {"href", "title", "rel", "class", "type"}
    for address in re.findall(r'href="([^"]*)"', shown):
        assert address.startswith(("http://", "https://"))


def test_a_place_in_an_answer_links_to_its_line() -> None:
    """# I2"""
    shown = MARKDOWN.html("See web/app.py:12, `README.md:3`, unknown.py:4 and 10:30.")
    assert 'href="/source/web/app.py?line=12#L12"' in shown
    assert 'href="/source/README.md?line=3#L3"' in shown
    assert shown.count("<a ") == 2
    assert text_of(shown) == "See web/app.py:12, README.md:3, unknown.py:4 and 10:30.\n"


def test_a_name_with_double_underscores_stays_a_name() -> None:
    markdown = Markdown("pkg/__init__.py".__eq__)
    shown = markdown.html("In pkg/__init__.py:3 __all__ is *set* and _that_ **is** it.")
    assert '<a href="/source/pkg/__init__.py?line=3#L3"' in shown
    assert "__all__ is <em>set</em> and <em>that</em> <strong>is</strong>" in shown


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab \t\n<>&\"'\\{}()[]#*`~é漢\u2028=:;def"), max_size=80))
def test_highlighted_code_keeps_its_exact_text(code: str) -> None:
    """# A11: tabs, blank lines, the last newline, `&<>`."""
    for language in ("python", "diff", "html", "no such language"):
        assert text_of(code_html(code, language)) == code
