"""Model output and repository text to safe HTML.

Invariant: nothing that a model or a file says becomes a live element: raw HTML and images are off,
and nh3 lets only short lists of attributes through. Code keeps its exact bytes.
"""

import re
from collections.abc import Callable
from html import escape
from urllib.parse import quote

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.util import ClassNotFound

TAGS = nh3.ALLOWED_TAGS - {"img"} | {"button"}
CLASS = {"class"}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "span": CLASS, "button": CLASS}
SCHEMES = {"http", "https", "mailto"}
PLACE = re.compile(r"<a .*?</a>|([\w.][\w./-]{0,200}\.\w{1,10}):(\d{1,7})(?!\w)", re.S)


def source_url(path: str, line: int | str = 0) -> str:
    return f"/source/{quote(path)}" + (f"?line={line}#L{line}" if line else "")


def code_html(text: str, language: str = "", filename: str = "") -> str:
    """Highlighted HTML whose text, line by line, is exactly `text`."""
    choose = get_lexer_for_filename if filename else get_lexer_by_name
    try:
        lexer = choose(filename or language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escape(text)
    shown = highlight(text, lexer, HtmlFormatter(nowrap=True))
    if not text.endswith("\n"):  # it ends every line
        shown = shown.removesuffix("\n")
    return shown if shown.count("\n") == text.count("\n") else escape(text)


def code_css() -> str:
    """By day and by night."""
    styles = (HtmlFormatter(style=style) for style in ("default", "github-dark"))
    day, night = (style.get_style_defs(":is(code, .source)") for style in styles)
    return f"{day}\n@media (prefers-color-scheme: dark) {{ {night} }}"


class Markdown:
    """Renders Markdown; a `path:line` becomes a link where the path is `known`."""

    def __init__(self, known: Callable[[str], bool]) -> None:
        self.known = known
        options = {"html": False, "highlight": lambda text, language, _: code_html(text, language)}
        self.parser = MarkdownIt("commonmark", options)
        self.parser.enable(["table", "strikethrough"]).disable("image")
        self.parser.add_render_rule("strong_open", _strong)
        self.parser.add_render_rule("strong_close", _strong)

    def html(self, text: str) -> str:
        shown = PLACE.sub(self._link, self.parser.render(text))
        shown = shown.replace("<pre>", '<pre><button class="copy">Copy</button>')
        # the last step: nothing may be put into what it has let through
        return nh3.clean(shown, tags=TAGS, attributes=ATTRIBUTES, url_schemes=SCHEMES)

    def _link(self, match: re.Match[str]) -> str:
        path, line = match.groups()
        if path and self.known(path):
            return f'<a href="{source_url(path, line)}">{match[0]}</a>'
        return match[0]


def _strong(renderer: object, tokens: list[Token], index: int, *_: object) -> str:
    """As in CommonMark, but two underscores are only themselves: `pkg/__init__.py` is a name."""
    token = tokens[index]
    return "__" if token.markup == "__" else "<strong>" if token.nesting > 0 else "</strong>"
