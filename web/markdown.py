"""Model output and repository text to safe HTML.

Invariant: nothing that a model or a file says becomes a live element: raw HTML and images are off,
and nh3 lets only short lists of attributes through. Code keeps its exact bytes.
"""

import re
from collections.abc import Callable, Collection
from html import escape
from urllib.parse import quote

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline, emphasis
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.util import ClassNotFound

TAGS = nh3.ALLOWED_TAGS - {"img"} | {"button"}
ATTRIBUTES = {"*": {"class"}, "a": {"href", "title"}, "ol": {"start"}, "button": {"type"}}
PLACE = re.compile(r"([\w.][\w./-]{0,200}\.\w{1,10}):(\d{1,7})(?!\w)")


def source_url(path: str, line: int | str = 0) -> str:
    return f"/source/{quote(path)}" + (f"?line={line}#L{line}" if line else "")


def code_html(text: str, language: str = "", filename: str = "") -> str:
    """Highlighted HTML whose text is exactly `text`."""
    choose = get_lexer_for_filename if filename else get_lexer_by_name
    try:
        lexer = choose(filename or language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escape(text)
    shown = highlight(text, lexer, HtmlFormatter(nowrap=True))
    return shown if text.endswith("\n") else shown.removesuffix("\n")  # it ends every line


def code_css() -> str:
    """By day and by night."""
    styles = (HtmlFormatter(style=style) for style in ("default", "github-dark"))
    day, night = (style.get_style_defs(":is(code, .source)") for style in styles)
    return f"{day}\n@media (prefers-color-scheme: dark) {{ {night} }}"


class Markdown:
    """Renders Markdown; `known` gives the paths whose `path:line` becomes a link."""

    def __init__(self, known: Callable[[], Collection[str]]) -> None:
        self.known = known
        self.parser = MarkdownIt("commonmark", {"html": False})
        self.parser.enable(["table", "strikethrough"]).disable("image")
        self.parser.inline.ruler.at("emphasis", _emphasis)
        rules = self.parser.renderer.rules
        rules["fence"] = rules["code_block"] = _fence
        rules["text"] = rules["code_inline"] = self._linked

    def html(self, text: str) -> str:
        return nh3.clean(
            self.parser.render(text),
            tags=TAGS,
            attributes=ATTRIBUTES,
            url_schemes={"http", "https", "mailto"},
            link_rel="noopener noreferrer nofollow",
        )

    def _linked(self, tokens: list[Token], index: int, *_: object) -> str:
        token, before = tokens[index], tokens[index - 1].type if index else ""
        text = escape(token.content)
        if before != "link_open":
            text = PLACE.sub(self._link, text)
        return f"<code>{text}</code>" if token.type == "code_inline" else text

    def _link(self, match: re.Match[str]) -> str:
        place, path, line = match[0], match[1], match[2]
        return f'<a href="{source_url(path, line)}">{place}</a>' if path in self.known() else place


def _emphasis(state: StateInline, silent: bool) -> bool:
    """As in CommonMark, but two underscores are only themselves: `pkg/__init__.py` is a name."""
    doubled = "__" in state.src[max(state.pos - 1, 0) : state.pos + 2]
    return not doubled and emphasis.tokenize(state, silent)


def _fence(tokens: list[Token], index: int, *_: object) -> str:
    token = tokens[index]
    code = code_html(token.content, next(iter(token.info.split()), ""))
    copy = '<button type="button" class="copy">Copy</button>'
    return f'<div class="code">{copy}<pre><code>{code}</code></pre></div>\n'
