"""Model output and repository text to safe HTML.

Invariant: nothing that a model or a file says becomes a live element: raw HTML and images are off,
and nh3 lets only short lists through. Code keeps its exact bytes.
"""

import re
from collections.abc import Callable, Collection
from html import escape
from urllib.parse import quote

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline, emphasis
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.util import ClassNotFound

TAGS = set("p br h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong del s a hr".split())
TAGS |= set("table thead tbody tr th td div span button".split())
ATTRIBUTES = {tag: {"class"} for tag in ("code", "div", "span")}
ATTRIBUTES |= {"a": {"href", "title"}, "ol": {"start"}, "button": {"class", "type"}}
PLACE = re.compile(r"([\w.][\w./-]{0,200}\.\w{1,10}):(\d{1,7})(?!\w)")


def source_url(path: str, line: int | str = 0) -> str:
    return f"/source/{quote(path)}" + (f"?line={line}#L{line}" if line else "")


def code_html(text: str, language: str = "", filename: str = "") -> str:
    """Highlighted HTML whose text is exactly `text`."""
    choose, name = get_lexer_by_name, language
    if filename:
        choose, name = get_lexer_for_filename, filename
    try:
        lexer = choose(name, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escape(text)
    shown = highlight(text, lexer, HtmlFormatter(nowrap=True))
    return shown if text.endswith("\n") else shown.removesuffix("\n")  # it ends every line


def code_css() -> str:
    """By day and by night."""
    day, night = (
        HtmlFormatter(style=style).get_style_defs(":is(code, .source)")
        for style in ("default", "github-dark")
    )
    return f"{day}\n@media (prefers-color-scheme: dark) {{ {night} }}"


def code_block(text: str, language: str = "") -> str:
    return (
        '<div class="code"><button type="button" class="copy">Copy</button>'
        f"<pre><code>{code_html(text, language)}</code></pre></div>\n"
    )


class Markdown:
    """Renders Markdown; `known` gives the paths whose `path:line` becomes a link."""

    def __init__(self, known: Callable[[], Collection[str]]) -> None:
        self.known = known
        self.parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
        self.parser.disable(["image"])
        self.parser.inline.ruler.at("emphasis", _emphasis)
        rules = {"fence": _fence, "code_block": _fence}
        rules |= {"text": self._linked, "code_inline": self._linked}
        self.parser.renderer.rules |= rules

    def html(self, text: str) -> str:
        return nh3.clean(
            self.parser.render(text),
            tags=TAGS,
            attributes=ATTRIBUTES,
            url_schemes={"http", "https", "mailto"},
            link_rel="noopener noreferrer nofollow",
        )

    def finished(self, text: str) -> int:
        """How many characters at the start are blocks that more text cannot change: all before
        the last one that stands after a blank line."""
        tokens: list[Token] = []
        self.parser.block.parse(text, self.parser, {}, tokens)  # inline text is not needed here
        lines = text.split("\n")
        starts = [t.map[0] for t in tokens if t.level == 0 and t.nesting >= 0 and t.map]
        last = max((start for start in starts if start and not lines[start - 1].strip()), default=0)
        return sum(len(line) + 1 for line in lines[:last])

    def _linked(self, tokens: list[Token], index: int, options: OptionsDict, env: dict) -> str:
        token, before = tokens[index], tokens[index - 1].type if index else ""
        text = escape(token.content)
        if before != "link_open":
            text = PLACE.sub(self._link, text)
        return f"<code>{text}</code>" if token.type == "code_inline" else text

    def _link(self, match: re.Match[str]) -> str:
        place, path, line = match[0], match[1], match[2]
        return f'<a href="{source_url(path, line)}">{place}</a>' if path in self.known() else place


class Growing:
    """A reply that still grows. Finished blocks are rendered once, the last one again each time,
    each whole, so that the cost grows with the reply and not with its square."""

    def __init__(self, markdown: Markdown) -> None:
        self.markdown = markdown
        self.done = ""  # HTML of the finished blocks
        self.rest = ""  # source of the last block
        self.size = 0  # characters so far

    def add(self, text: str) -> None:
        self.rest += text
        self.size += len(text)

    def render(self) -> tuple[str, str]:
        """HTML of the blocks that were finished since the last call, and of the last block."""
        end = self.markdown.finished(self.rest)
        fresh = self.markdown.html(self.rest[:end]) if end else ""
        self.done += fresh
        self.rest = self.rest[end:]
        return fresh, self.markdown.html(self.rest)


def _emphasis(state: StateInline, silent: bool) -> bool:
    """As in CommonMark, but two underscores are only themselves: `pkg/__init__.py` is a name."""
    doubled = "__" in state.src[max(state.pos - 1, 0) : state.pos + 2]
    return not doubled and emphasis.tokenize(state, silent)


def _fence(tokens: list[Token], index: int, options: OptionsDict, env: dict) -> str:
    token = tokens[index]
    return code_block(token.content, next(iter(token.info.split()), ""))
