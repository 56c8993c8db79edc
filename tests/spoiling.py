"""Spoils edits the way that language models spoil them, and says what must come of it.

`spoil` takes an edit (texts before and after), a shape to write it in and named faults, and gives a
`Case`: the reply, the files as they lie in the repository, and what is right: exactly these files
afterwards ("after"), a refusal ("refuse"), or one of the two ("either": the reply does not say
enough for certainty, so a refusal is honest, and anything but the edit that was meant is wrong).

Knows nothing of the engine that it tries. Invariant: "after" is asked for only where the lines that
the faults have left name one place of the file; where they name a wrong one, no case is made.
"""

import ast
import difflib
import itertools
import random
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shapes import Change

Edit = Mapping[str, tuple[str | None, str | None]]
WANTS = ("after", "either", "refuse")
NO_NEWLINE = "\\ No newline at end of file"
FILE_COMMENT = {".py": "#", ".toml": "#", ".yaml": "#", ".yml": "#", ".sh": "#", ".cfg": "#"}
LOOKS_LIKE_MARKUP = re.compile(r"[-+@\\]|diff |\s*(```|~~~)|\*\*\* ")


class DoesNotApply(Exception):
    """This fault cannot be made in this edit, or nobody could know what was meant."""


@dataclass(frozen=True)
class Case:
    reply: str
    files: Mapping[str, bytes]
    after: Mapping[str, bytes | None]
    modes: Mapping[str, str]  # where they are not 100644
    want: str
    shape: str
    faults: tuple[str, ...]

    def outcome(self, changes: Sequence[Change] | None) -> str:
        """ "right", "refused" (though it could be placed) or "wrong"; None is a refusal."""
        if changes is None:
            return "refused" if self.want == "after" else "right"
        got: dict[str, bytes | None] = {}
        for change in changes:
            if change.old_path:
                got[change.old_path] = None
            text = change.after
            got[change.path] = None if text is None else text.encode(change.encoding)
        modes = {c.path: c.mode for c in changes if c.after is not None and c.mode != "100644"}
        same = got == self.after and modes == self.modes
        return "right" if same and self.want != "refuse" else "wrong"


@dataclass
class Line:
    mark: str  # " ", "-", "+", or "" for one whose mark is lost
    text: str
    origin: int | None = None  # line of the file, 0-based; None: no evidence for a place


@dataclass
class Hunk:
    start: int  # 0-based, in truth
    lines: list[Line]
    head: str
    number: int | None  # the line that the header names, 1-based
    counted: bool = True  # the header's counts are right, as of before the faults
    elided: bool = False

    def of(self, *marks: str) -> list[Line]:
        return [line for line in self.lines if line.mark in marks]


@dataclass
class Part:
    """One file of the edit."""

    old: str | None
    new: str | None
    before: str
    after: str
    hunks: list[Hunk] = field(default_factory=list)
    mode: str = ""  # the new one, where it changes
    encoding: str = "utf-8"
    bom: bool = False
    crlf: bool = False  # in the file, not in the reply
    laid: str | None = None  # what lies there in truth, where it is not `before`
    head: list[str] | None = None  # header lines instead of the usual ones
    shown: str | None = None  # what a whole file is written as, where it is not `after`

    @property
    def name(self) -> str:
        return self.new or self.old or ""

    def data(self, text: str) -> bytes:
        text = text.replace("\n", "\r\n") if self.crlf else text
        return (("\ufeff" if self.bom else "") + text).encode(self.encoding)

    def rename(self, name: str) -> None:
        self.old, self.new = self.old and name, self.new and name


@dataclass
class Draft:
    rng: random.Random
    shape: str
    parts: list[Part]
    want: str = "after"
    context: int = 3
    needs_counts: bool = False  # else nobody could be certain
    hopeless_without_counts: bool = False  # nobody could notice
    out_of_order: bool = False
    git: bool = True
    prefixes: tuple[str, str] = ("a/", "b/")
    names: bool = True  # the lines `---` and `+++`
    fence: tuple[str, str] = ("```diff", "```")
    indent: str = ""
    apart: str = ""  # "file" or "hunk": one fence each
    intro: list[str] = field(default_factory=lambda: ["Here is the change:", ""])
    between: list[str] = field(default_factory=lambda: [""])
    outro: list[str] = field(default_factory=lambda: ["", "This should do it."])
    spoil_text: list[Callable[[list[str], int], str]] = field(default_factory=list)
    block_marks: tuple[int, str, str] = (7, "SEARCH", "REPLACE")
    path_line: str = "{}"
    path_at: str = "before"  # the fence; or "inside", "info", "comment", "after"

    def expect(self, want: str) -> None:
        self.want = max(self.want, want, key=WANTS.index)

    def pick(self, things: Iterable[object], least: int = 1) -> object:
        found = list(things)
        if len(found) < least:
            raise DoesNotApply
        return self.rng.choice(found)

    def hunks(self) -> list[Hunk]:
        return [hunk for part in self.parts for hunk in part.hunks]

    def context_lines(self, inner: bool = False) -> list[tuple[Hunk, int]]:
        """Where context stands that is not blank; `inner`: between other lines of its hunk."""
        return [
            (hunk, i)
            for hunk in self.hunks()
            for i, line in enumerate(hunk.lines)
            if line.mark == " " and line.text.strip()
            if not inner or 0 < i < len(hunk.lines) - 1
        ]


@dataclass(frozen=True)
class Fault:
    name: str
    stage: str
    shapes: tuple[str, ...]
    context: int
    spoil: Callable[[Draft], None]


FAULTS: dict[str, Fault] = {}
STAGES = ("world", "hunk", "look", "text")
DIFF, HUNKS, ALL = ("diff",), ("diff", "blocks", "v4a"), ("diff", "blocks", "v4a", "file", "def")


def fault(
    stage: str, shapes: tuple[str, ...] = DIFF, context: int = 3, name: str = ""
) -> Callable[[Callable[[Draft], None]], Callable[[Draft], None]]:
    def register(spoil: Callable[[Draft], None]) -> Callable[[Draft], None]:
        called = name or spoil.__name__
        FAULTS[called] = Fault(called, stage, shapes, context, spoil)
        return spoil

    return register


def spoil(edit: Edit, rng: random.Random, faults: Sequence[str] = (), shape: str = "diff") -> Case:
    """The edit as a reply with these faults; DoesNotApply where they cannot be had."""
    chosen = sorted((FAULTS[name] for name in faults), key=lambda f: STAGES.index(f.stage))
    parts = [
        Part(path if a is not None else None, path if b is not None else None, a or "", b or "")
        for path, (a, b) in edit.items()
    ]
    draft = Draft(rng, shape, parts, context=max([3, *(f.context for f in chosen)]))
    if any(shape not in f.shapes for f in chosen) or any(p.before == p.after for p in parts):
        raise DoesNotApply
    stages = [f.stage for f in chosen]
    if stages.count("world") > 1:
        raise DoesNotApply
    if stages.count("hunk") > 1:
        draft.expect("either")
    for stage in STAGES:
        if stage == "hunk":
            for part in parts:
                part.hunks = part.hunks or hunks_of(part.before, part.after, draft.context)
        if stage == "text":
            judge(draft)
            lines, last_change = RENDER[shape](draft)
        for each in chosen:
            if each.stage == stage:
                each.spoil(draft)
    if draft.hopeless_without_counts and stages.count("hunk") > 1:
        raise DoesNotApply
    text = "\n".join(lines) + "\n"
    for change in draft.spoil_text:
        text = change(text.removesuffix("\n").split("\n"), last_change)
    must_parse(parts)
    files = {p.old: p.data(p.before if p.laid is None else p.laid) for p in parts if p.old}
    after: dict[str, bytes | None] = {p.old: None for p in parts if p.old}
    after |= {p.new: p.data(p.after) for p in parts if p.new}
    modes = {p.new: p.mode for p in parts if p.new and p.mode == "100755"}
    return Case(text, files, after, modes, draft.want, shape, tuple(faults))


def must_parse(parts: list[Part]) -> None:
    """An engine refuses what breaks a Python file, so such an edit is no case."""
    for part in parts:
        if part.name.endswith(".py") and not (parses(part.after) or not parses(part.before)):
            raise DoesNotApply


def parses(text: str) -> bool:
    try:
        compile(text.encode("utf-8", "replace"), "file", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


def lines_of(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def hunks_of(before: str, after: str, context: int) -> list[Hunk]:
    old, new = lines_of(before), lines_of(after)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    hunks = []
    for group in matcher.get_grouped_opcodes(context):
        lines: list[Line] = []
        for kind, i, j, k, m in group:
            if kind == "equal":
                lines += [made for at in range(i, j) for made in shown(" ", old[at], at)]
                continue
            lines += [made for at in range(i, j) for made in shown("-", old[at], at)]
            lines += [made for at in range(k, m) for made in shown("+", new[at], None)]
        a, b, c, d = group[0][1], group[-1][2], group[0][3], group[-1][4]
        head = f"@@ -{span(a, b)} +{span(c, d)} @@"
        hunks.append(Hunk(a, lines, head, a + (b > a)))
    return hunks


def shown(mark: str, text: str, origin: int | None) -> list[Line]:
    line = [Line(mark, text.removesuffix("\n"), origin)]
    return line if text.endswith("\n") else [*line, Line("", NO_NEWLINE)]


def span(start: int, end: int) -> str:
    return f"{start + (end > start)},{end - start}"


def bare(text: str) -> str:
    return "".join(text.split())


def judge(draft: Draft) -> None:
    """Lower what is asked for to what the reply still says. No case where its words name another
    place exactly: then the reply says something else than what was meant."""
    if draft.shape not in HUNKS or draft.want == "refuse":
        return
    for part in draft.parts:
        lies = part.before if part.laid is None else part.laid
        texts = [line.removesuffix("\n") for line in lines_of(lies)]
        plain = [bare(text) for text in texts]
        for hunk in part.hunks if part.old and part.new else []:
            if draft.shape != "diff":
                hunk.number, hunk.counted = None, False
            if draft.needs_counts and not hunk.counted:
                draft.expect("either")
            if draft.hopeless_without_counts and not hunk.counted:
                raise DoesNotApply
            old = [line for line in hunk.lines if line.mark in (" ", "-")]
            old += [line for line in hunk.lines if not line.mark and line.text != NO_NEWLINE]
            order = {id(line): i for i, line in enumerate(hunk.lines)}
            old.sort(key=lambda line: order[id(line)])
            exact = at_places([line.text for line in old], texts)
            loose = at_places([bare(line.text) for line in old], plain)
            places = exact or loose
            if not any(bare(line.text) for line in old):
                draft.expect("either")
            elif len(places) > 1:
                if draft.out_of_order:
                    raise DoesNotApply  # the order names the wrong one
                if draft.shape == "v4a" and v4a_head(part, hunk) != "@@":
                    raise DoesNotApply  # the format means the first place after the heading
                if hunk.number and hunk.number - 1 in places and hunk.number - 1 != hunk.start:
                    raise DoesNotApply
                if not exact or hunk.number != hunk.start + 1:
                    draft.expect("either")
            elif places and places != [hunk.start]:
                raise DoesNotApply
            elif not places and placements(old, plain, hunk.elided) != 1:
                draft.expect("either")


def at_places(wanted: list[str], lines: list[str]) -> list[int]:
    return [i for i in range(len(lines) - len(wanted) + 1) if lines[i : i + len(wanted)] == wanted]


def placements(old: list[Line], plain: list[str], elided: bool) -> int:
    """In how many ways the lines that are still evidence stand in the file in order, where up to
    four lines of the file (any number at an elision) may stand in a gap of the reply. At most 2."""
    runs: list[list[str]] = []
    last = None
    for line in old:
        if line.origin is None:
            continue
        if last is None or line.origin != last + 1:
            runs.append([])
        runs[-1].append(bare(line.text))
        last = line.origin
    if not any(any(run) for run in runs):
        return 2
    ends = [(0, len(plain))]
    for number, run in enumerate(runs):
        hits = at_places(run, plain)
        reach = len(plain) if elided or not number else 5
        ends = [
            (h + len(run), 0) for e, free in ends for h in hits if e <= h <= e + max(free, reach)
        ]
        ends = ends[:50]
    return min(len(ends), 2)


# ---- the shapes


def render_diff(draft: Draft) -> tuple[list[str], int]:
    """The lines of the reply, and which of them is the last one that changes something."""
    blocks: list[list[str]] = []
    last_change = [0, 0]
    for part in draft.parts:
        lines = header(draft, part) if part.head is None else [*part.head]
        for number, hunk in enumerate(part.hunks):
            if number and draft.apart == "hunk":
                blocks.append(lines)
                lines = header(draft, part)
            lines += [hunk.head] if hunk.head else []
            for line in hunk.lines:
                lines.append(line.mark + line.text)
                if line.mark in ("+", "-"):
                    last_change = [len(blocks), len(lines)]
        blocks.append(lines)
    if not draft.apart:
        last_change = [0, sum(map(len, blocks[: last_change[0]])) + last_change[1]]
        blocks = [[line for block in blocks for line in block]]
    out = list(draft.intro)
    for number, block in enumerate(blocks):
        out += draft.between if number else []
        out += [draft.indent + draft.fence[0]] if draft.fence[0] else []
        if number == last_change[0]:
            last_change = [-1, len(out) + last_change[1] - 1]
        out += [draft.indent + line if line or not draft.indent else "" for line in block]
        out += [draft.indent + draft.fence[1]] if draft.fence[1] else []
    return out + draft.outro, last_change[1]


def header(draft: Draft, part: Part) -> list[str]:
    a, b = draft.prefixes
    lines = [f"diff --git {a}{part.old or part.new} {b}{part.name}"] if draft.git else []
    if not part.old:
        lines += ["new file mode 100644"] * draft.git
    elif not part.new:
        lines += ["deleted file mode 100644"] * draft.git
    elif part.mode:
        lines += ["old mode 100644", f"new mode {part.mode}"]
    if part.old and part.new and part.old != part.new:
        lines += [f"rename from {part.old}", f"rename to {part.new}"]
    if draft.names and part.hunks:
        lines += [f"--- {a}{part.old}" if part.old else "--- /dev/null"]
        lines += [f"+++ {b}{part.new}" if part.new else "+++ /dev/null"]
    return lines


def render_blocks(draft: Draft) -> tuple[list[str], int]:
    out, last_change = list(draft.intro), 0
    width, search, replacement = draft.block_marks
    for part in draft.parts:
        if not part.new or (part.old and part.old != part.new) or part.mode:
            raise DoesNotApply
        for hunk in part.hunks:
            old = [line.text for line in hunk.lines if line.mark in (" ", "-")]
            new = [line.text for line in hunk.lines if line.mark in (" ", "+")]
            if any(re.match(r"<{5,9}|={5,9}|>{5,9}|\s*(```|~~~)", line) for line in old + new):
                draft.expect("either")
            if newline_changes(part) and part.old:
                raise DoesNotApply  # the shape cannot say it, and the file's own state is kept
            path = draft.path_line.format(part.name)
            block = [
                f"{'<' * width} {search}",
                *old,
                "=" * width,
                *new,
                f"{'>' * width} {replacement}",
            ]
            out += [path] if draft.path_at == "before" else []
            fence = (draft.fence[0].replace("diff", "python"), draft.fence[1])
            out += [fence[0]] if fence[0] else []
            out += [path] if draft.path_at == "inside" else []
            out += block
            last_change = len(out) - 1
            out += [fence[1]] if fence[1] else []
            out += [path] if draft.path_at == "after" else []
            out += draft.between
    return out + draft.outro, last_change


def newline_changes(part: Part) -> bool:
    return part.before.endswith("\n") != part.after.endswith("\n")


def render_v4a(draft: Draft) -> tuple[list[str], int]:
    out = [*draft.intro, *([draft.fence[0].replace("diff", "")] if draft.fence[0] else [])]
    out += ["*** Begin Patch"]
    last_change = 0
    for part in draft.parts:
        if part.mode:
            raise DoesNotApply
        verb = "Update" if part.old and part.new else "Add" if part.new else "Delete"
        out += [f"*** {verb} File: {part.old or part.new}"]
        out += [f"*** Move to: {part.new}"] if verb == "Update" and part.old != part.new else []
        if newline_changes(part) and verb == "Update":
            raise DoesNotApply  # as above
        for hunk in part.hunks if verb != "Delete" else []:
            out += [v4a_head(part, hunk)] if verb == "Update" else []
            for line in hunk.lines:
                if line.text != NO_NEWLINE:
                    out.append(line.mark + line.text)
                    last_change = len(out) - 1 if line.mark in ("+", "-") else last_change
    out += ["*** End Patch", *([draft.fence[1]] if draft.fence[1] else [])]
    return out + draft.outro, last_change


def v4a_head(part: Part, hunk: Hunk) -> str:
    """The definition that the hunk stands in, as the format wants it."""
    above = [line for line in lines_of(part.before)[: hunk.start]]
    found = [line.rstrip() for line in above if re.match(r"\s*(def|class) ", line)]
    return f"@@ {found[-1].strip()}" if found else "@@"


def render_file(draft: Draft) -> tuple[list[str], int]:
    out, last_change = list(draft.intro), 0
    for part in draft.parts:
        if not part.new or (part.old and part.old != part.new) or part.mode or not part.after:
            raise DoesNotApply
        if not part.after.endswith("\n") and (not part.old or newline_changes(part)):
            raise DoesNotApply
        if not part.old and "." not in part.name:
            raise DoesNotApply  # any word may be in ticks
        if part.after.endswith("\n\n") or part.before.endswith("\n\n"):
            raise DoesNotApply  # blank lines before a closing fence say nothing
        ticks = "````" if "```" in part.after else "```"
        body = (part.shown or part.after).removesuffix("\n").split("\n")
        out += fenced(draft, part.name, ticks, body)
        last_change = len(out) - 2
    return out + draft.outro, last_change


def fenced(draft: Draft, path: str, ticks: str, body: list[str]) -> list[str]:
    suffix = re.sub(r"[^.]*$", "", path) and re.sub(r".*\.", "", path)
    language = {"py": "python", "md": "markdown"}.get(suffix, suffix if suffix.isalpha() else "")
    named = draft.path_line.format(path)
    comment = FILE_COMMENT.get(f".{suffix}")
    if draft.path_at == "comment" and (not comment or body[0].startswith(("#!", "\ufeff"))):
        raise DoesNotApply
    if draft.path_at in ("info", "colon", "title") and not language:
        raise DoesNotApply
    info = {"info": f"{language} {path}", "colon": f"{language}:{path}", "title": path}
    lines = [named, ""] if draft.path_at == "before" else []
    lines += [ticks + info.get(draft.path_at, language)]
    lines += [f"{comment} {path}"] if draft.path_at == "comment" else []
    return [*lines, *body, ticks, ""]


def render_def(draft: Draft) -> tuple[list[str], int]:
    """The smallest definition, or one around it, that holds the whole change."""
    (part, *others) = draft.parts
    if others or not (part.old and part.new == part.old and part.name.endswith(".py")):
        raise DoesNotApply
    if newline_changes(part):
        raise DoesNotApply
    old, new = definitions(part.before), definitions(part.after)
    before, after = lines_of(part.before), lines_of(part.after)
    fits = []
    for name, (i, j) in old.items():
        k, m = new.get(name, (0, 0))
        if m and before[:i] + after[k:m] + before[j:] == after:
            fits.append((name, [line.removesuffix("\n") for line in after[k:m]]))
    name, body = draft.pick(fits)
    names = [each.rpartition(".")[2] for each in old]
    if names.count(name.rpartition(".")[2].split("#")[0]) > 1 or "#" in name:
        draft.expect("either")
    if body[0][:1].isspace() and draft.rng.random() < 0.5:
        body = textwrap.dedent("\n".join(body)).split("\n")
    draft.intro = [draft.intro[0].replace("the change", f"the new `{name}`"), *draft.intro[1:]]
    out = [*draft.intro, *fenced(draft, part.name, "```", body)]
    return out + draft.outro, len(out) - 3


def definitions(text: str) -> dict[str, tuple[int, int]]:
    """Qualified names with their first line, decorators included, and the line after the last."""
    found: dict[str, tuple[int, int]] = {}

    def visit(node: ast.AST, above: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = above + child.name
                while name in found:
                    name += "#"
                first = min([child.lineno, *(d.lineno for d in child.decorator_list)])
                found[name] = (first - 1, child.end_lineno or 0)
                if isinstance(child, ast.ClassDef):
                    visit(child, f"{name}.")
            elif not isinstance(child, ast.expr):
                visit(child, above)

    try:
        visit(ast.parse(text), "")
    except (SyntaxError, ValueError) as error:
        raise DoesNotApply from error
    return found


RENDER = {"diff": render_diff, "blocks": render_blocks, "v4a": render_v4a}
RENDER |= {"file": render_file, "def": render_def}
SHAPES = tuple(RENDER)


# ---- the file is special


def only_changed(draft: Draft) -> list[Part]:
    parts = [part for part in draft.parts if part.old and part.new]
    if not parts:
        raise DoesNotApply
    return parts


def beside_the_change(part: Part, extra: str, distance: int = 1, indented: bool = False) -> None:
    """Put a line into both texts, `distance` unchanged lines after the first change."""
    old, new = lines_of(part.before), lines_of(part.after)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    codes = matcher.get_opcodes()
    for (before, *_), (kind, i, j, k, _) in itertools.pairwise(codes):
        if before != "equal" and kind == "equal" and j - i > distance + 1:
            extra = re.match(r"[ \t]*", old[i + distance])[0] * indented + extra
            old.insert(i + distance, extra + "\n")
            new.insert(k + distance, extra + "\n")
            part.before, part.after = "".join(old), "".join(new)
            return
    raise DoesNotApply


def inject(draft: Draft, extra: str) -> None:
    part = only_changed(draft)[0]
    parsed = parses(part.before)
    beside_the_change(part, extra, indented=bool(extra.strip()))
    if part.name.endswith(".py") and parsed and not parses(part.before):
        raise DoesNotApply


@fault("world", ALL)
def file_has_crlf(draft: Draft) -> None:
    for part in only_changed(draft):
        if "\r" in part.before + part.after:
            raise DoesNotApply
        part.crlf = True


@fault("world", ("diff", "blocks"))
def file_and_lines_have_crlf(draft: Draft) -> None:
    for part in only_changed(draft):
        if "\r" in part.before + part.after:
            raise DoesNotApply
        part.before = part.before.replace("\n", "\r\n")
        part.after = part.after.replace("\n", "\r\n")


@fault("world", ALL)
def file_has_bom(draft: Draft) -> None:
    for part in only_changed(draft):
        if part.before.startswith("\ufeff"):
            raise DoesNotApply
        part.bom = True


@fault("world", ALL)
def file_is_latin_1(draft: Draft) -> None:
    inject(draft, "# caf\xe9 \xa7")
    for part in only_changed(draft)[:1]:
        if max(part.before + part.after) > "\xff" or "\ufeff" in part.before:
            raise DoesNotApply
        part.encoding = "latin-1"


@fault("world", ALL)
def file_is_not_ascii(draft: Draft) -> None:
    inject(draft, "# 名前 — “naïve” 🎉 a\u2028b\x85c")


@fault("world", ALL)
def file_has_form_feeds(draft: Draft) -> None:
    inject(draft, "\f")


@fault("world", HUNKS)
def file_has_trailing_space(draft: Draft) -> None:
    """The model shows the context without it."""
    for part in only_changed(draft):
        hunks = hunks_of(part.before, part.after, 3)
        clean = {line.text for h in hunks for line in h.lines if line.mark == "+"}
        context = {line.text for h in hunks for line in h.lines if line.mark == " "} - clean
        context = {text for text in context if text.strip() and not text.endswith("\\")}
        part.hunks = hunks
        old, new = lines_of(part.before), lines_of(part.after)
        if not context or (part.name.endswith(".py") and '"""' in part.before):
            raise DoesNotApply
        padded = {f"{text}\n": f"{text}  \n" for text in context}
        part.before = "".join(padded.get(line, line) for line in old)
        part.after = "".join(padded.get(line, line) for line in new)
        part.laid = part.before


@fault("world", ALL)
def file_begins_with_its_path(draft: Draft) -> None:
    for part in only_changed(draft):
        comment = FILE_COMMENT.get(re.sub(r".*(?=\.)", "", part.name), "#")
        line = f"{comment} {part.name}\n"
        if part.before.startswith(("#!", "# -*-", "\ufeff")):
            raise DoesNotApply
        part.before, part.after = line + part.before, line + part.after


@fault("world", ALL)
def no_last_newline(draft: Draft) -> None:
    for part in only_changed(draft):
        part.before, part.after = part.before.rstrip("\n"), part.after.rstrip("\n")
        if part.before == part.after or not part.before or not part.after:
            raise DoesNotApply


@fault("world", DIFF)
def no_last_newline_before(draft: Draft) -> None:
    for part in only_changed(draft):
        part.before, part.after = part.before.rstrip("\n"), part.after.rstrip("\n") + "\n"
        if not part.before:
            raise DoesNotApply


@fault("world", DIFF)
def no_last_newline_unmarked(draft: Draft) -> None:
    no_last_newline(draft)
    for part in draft.parts:
        part.hunks = hunks_of(part.before, part.after, draft.context)
        marked = [h for h in part.hunks if NO_NEWLINE in [line.text for line in h.lines]]
        if not marked:
            raise DoesNotApply
        for hunk in marked:
            hunk.lines = [line for line in hunk.lines if line.text != NO_NEWLINE]


def as_text(draft: Draft) -> None:
    for part in draft.parts:
        part.rename(re.sub(r"\.\w+$", "", part.name) + ".txt")


@fault("world", DIFF)
def content_looks_like_a_diff(draft: Draft) -> None:
    """Lines that read as headers once they have their mark, changed and unchanged."""
    as_text(draft)
    part = only_changed(draft)[0]
    beside_the_change(
        part, draft.rng.choice(["--- x", "+++ y", "@@ -1,2 +1,2 @@", "diff --git a/x b/x"])
    )
    old, new = "-- old words\n", "++ new words\n"
    before, after = lines_of(part.before), lines_of(part.after)
    at = draft.rng.randrange(min(len(before), len(after)))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, i, _, k, _ in matcher.get_opcodes():
        if kind == "replace" or (kind == "equal" and i >= at):
            before.insert(i, old)
            after.insert(k, new)
            break
    part.before, part.after = "".join(before), "".join(after)


@fault("world", HUNKS)
def content_looks_like_a_fence(draft: Draft) -> None:
    as_text(draft)
    part = only_changed(draft)[0]
    beside_the_change(part, "```")
    beside_the_change(part, "```python")
    first = hunks_of(part.before, part.after, 0)[0].start
    before, after = lines_of(part.before), lines_of(part.after)
    if draft.rng.random() < 0.5:
        after.insert(first, "```\n")
        part.before, part.after = "".join(before), "".join(after)


@fault("world", ("diff", "blocks", "v4a", "file"))
def is_text(draft: Draft) -> None:
    for part in draft.parts:
        part.rename(re.sub(r"\.\w+$", "", part.name) + ".md")


@fault("world", ("diff", "blocks", "v4a", "file"))
def odd_name(draft: Draft) -> None:
    as_text(draft)
    part = draft.parts[0]
    name = draft.rng.choice(
        ["my notes.txt", "café/naïve.txt", "a b/c d.txt", "it's.txt", "b/a/x.txt"]
    )
    part.rename(name)


@fault("world", DIFF)
def odd_name_quoted(draft: Draft) -> None:
    """As git writes it where core.quotePath is on."""
    as_text(draft)
    part = only_changed(draft)[0]
    part.rename("café/naïve.txt")
    said = "".join(chr(b) if b < 128 else f"\\{b:03o}" for b in part.name.encode())
    part.head = [f'diff --git "a/{said}" "b/{said}"', f'--- "a/{said}"', f'+++ "b/{said}"']


@fault("world", ("diff", "v4a"))
def rename_with_edits(draft: Draft) -> None:
    part = only_changed(draft)[0]
    part.new = re.sub(r"(\w+)(\.\w+)?$", r"\1_renamed\2", part.name)


@fault("world", DIFF)
def rename_only(draft: Draft) -> None:
    rename_with_edits(draft)
    draft.parts[:] = [part for part in draft.parts if part.old != part.new][:1]
    draft.parts[0].after = draft.parts[0].before


@fault("world", DIFF)
def rename_by_names_only(draft: Draft) -> None:
    """`--- a/old` and `+++ b/new`, without git's lines. Taken as a rename, or refused."""
    rename_with_edits(draft)
    part = next(part for part in draft.parts if part.old != part.new)
    part.head = [f"--- a/{part.old}", f"+++ b/{part.new}"]
    draft.expect("either")


@fault("world", DIFF)
def mode_with_edits(draft: Draft) -> None:
    only_changed(draft)[0].mode = "100755"


@fault("world", DIFF)
def mode_only(draft: Draft) -> None:
    draft.parts[:] = only_changed(draft)[:1]
    draft.parts[0].mode, draft.parts[0].after = "100755", draft.parts[0].before


@fault("world", ("diff", "blocks", "v4a", "file"))
def create(draft: Draft) -> None:
    part = draft.parts[0]
    if not part.after or not part.new:
        raise DoesNotApply
    part.old, part.before = None, ""
    if not part.after.endswith("\n"):
        raise DoesNotApply


@fault("world", DIFF)
def create_without_git_lines(draft: Draft) -> None:
    create(draft)
    draft.git = False


@fault("world", DIFF)
def create_onto_a_file(draft: Draft) -> None:
    """The new file is there already, with other words."""
    create(draft)
    part = draft.parts[0]
    part.head = [f"diff --git a/{part.new} b/{part.new}", "new file mode 100644", "--- /dev/null"]
    part.head += [f"+++ b/{part.new}"]
    part.hunks = hunks_of("", part.after, 3)
    part.old, part.before, part.laid = part.new, "other\nwords\n", "other\nwords\n"
    draft.expect("refuse")


@fault("world", ("diff", "v4a"))
def delete(draft: Draft) -> None:
    part = draft.parts[0]
    if not part.before or not part.old:
        raise DoesNotApply
    part.new, part.after = None, ""


@fault("world", DIFF)
def delete_by_header_only(draft: Draft) -> None:
    delete(draft)
    part = draft.parts[0]
    part.head = [f"diff --git a/{part.old} b/{part.old}", "deleted file mode 100644"]
    part.hunks = [Hunk(0, [], "", None)]
    draft.expect("either")


@fault("world", DIFF)
def delete_with_other_lines(draft: Draft) -> None:
    """The file has a line that the diff does not delete."""
    delete(draft)
    part = draft.parts[0]
    part.laid = part.before + "one more line\n"
    if not part.before.endswith("\n"):
        raise DoesNotApply
    draft.expect("refuse")


def twin(draft: Draft) -> None:
    """The first place stands in the file a second time, context and all."""
    as_text(draft)
    draft.parts[:] = only_changed(draft)[:1]
    part = draft.parts[0]
    hunk = hunks_of(part.before, part.after, 5)[0]
    if not part.before.endswith("\n") or not part.after.endswith("\n"):
        raise DoesNotApply
    copy = "".join(line.text + "\n" for line in hunk.of(" ", "-"))
    part.before += "- - - -\n" + copy
    part.after += "- - - -\n" + copy


@fault("world", DIFF)
def place_has_a_twin(draft: Draft) -> None:
    """The line number decides."""
    twin(draft)


@fault("world", DIFF)
def place_has_a_twin_and_numbers_are_wrong(draft: Draft) -> None:
    twin(draft)
    FAULTS["numbers_wrong"].spoil(prepared(draft))


@fault("world", HUNKS)
def place_has_a_twin_and_no_numbers(draft: Draft) -> None:
    twin(draft)
    for hunk in prepared(draft).hunks():
        hunk.head, hunk.number, hunk.counted = "@@ @@", None, False


def prepared(draft: Draft) -> Draft:
    for part in draft.parts:
        part.hunks = part.hunks or hunks_of(part.before, part.after, draft.context)
    return draft


@fault("world", ALL)
def already_applied(draft: Draft) -> None:
    for part in only_changed(draft):
        part.laid = part.after
        texts = [line.removesuffix("\n") for line in lines_of(part.after)]
        for hunk in hunks_of(part.before, part.after, draft.context):
            if at_places([line.text for line in hunk.of(" ", "-")], texts):
                raise DoesNotApply
    draft.expect("refuse")


@fault("world", HUNKS)
def one_hunk_already_applied(draft: Draft) -> None:
    part = only_changed(draft)[0]
    old, new = lines_of(part.before), lines_of(part.after)
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changed = [code for code in codes if code[0] != "equal"]
    if len(hunks_of(part.before, part.after, 3)) < 2:
        raise DoesNotApply
    _, i, j, k, m = changed[0]
    part.laid = "".join(old[:i] + new[k:m] + old[j:])
    draft.expect("either")


@fault("world", ("diff", "blocks", "v4a"))
def path_is_not_there(draft: Draft) -> None:
    part = only_changed(draft)[0]
    part.hunks = hunks_of(part.before, part.after, draft.context)
    name = part.name
    part.rename("elsewhere/other_name.txt")
    part.head = [f"--- a/{name}", f"+++ b/{name}"]
    if draft.shape != "diff":
        raise DoesNotApply
    draft.expect("refuse")


@fault("world", DIFF, context=8)
def target_leaked_into_context(draft: Draft) -> None:
    """One of two changes is shown as if it were done: its edit would be lost in silence."""
    found = []
    for hunk in prepared(draft).hunks():
        runs = re.finditer(r"(-+)(\++)", "".join(line.mark or "\\" for line in hunk.lines))
        for run in runs:
            rest = hunk.lines[: run.start()] + hunk.lines[run.end() :]
            if any(line.mark in ("-", "+") for line in rest):
                found.append((hunk, run))
    hunk, run = draft.pick(found)
    old = [line.text for line in hunk.lines[run.start(1) : run.end(1)]]
    new = [line for line in hunk.lines[run.start(2) : run.end(2)]]
    near = [difflib.SequenceMatcher(None, bare(a), bare(b.text)).ratio() for a, b in zip(old, new)]
    edits = [edit_distance_is_small(a, b.text) for a, b in zip(old, new)]
    if not near or all(edits) or not any(bare(b.text) for b in new):
        raise DoesNotApply  # nobody could tell it from a slip of a letter
    if set(bare(b.text) for b in new) <= {
        bare(line) for part in draft.parts for line in lines_of(part.before)
    }:
        raise DoesNotApply
    hunk.lines[run.start() : run.end()] = [Line(" ", line.text) for line in new]
    draft.expect("refuse")


def edit_distance_is_small(one: str, two: str) -> bool:
    one, two = bare(one).replace('"', "'"), bare(two).replace('"', "'")
    codes = difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes()
    return sum(max(j - i, m - k) for kind, i, j, k, m in codes if kind != "equal") <= 1


# ---- the lines of a hunk are spoilt


@fault("hunk", DIFF)
def space_lost_everywhere(draft: Draft) -> None:
    for hunk in draft.hunks():
        for line in hunk.of(" "):
            if LOOKS_LIKE_MARKUP.match(line.text):
                raise DoesNotApply
            line.mark = ""
    if not any(line.text.strip() for hunk in draft.hunks() for line in hunk.of("")):
        raise DoesNotApply
    draft.needs_counts = True


@fault("hunk", ("diff", "v4a"))
def space_lost_once(draft: Draft) -> None:
    hunk, i = draft.pick(draft.context_lines())
    if LOOKS_LIKE_MARKUP.match(hunk.lines[i].text):
        raise DoesNotApply
    hunk.lines[i].mark = ""
    draft.needs_counts = draft.shape == "diff"


@fault("hunk", ("diff", "v4a"))
def blank_context_bare(draft: Draft) -> None:
    blank = [line for hunk in draft.hunks() for line in hunk.of(" ") if not line.text]
    draft.pick(blank)
    for line in blank:
        line.mark = ""


@fault("hunk", HUNKS)
def no_context(draft: Draft) -> None:
    for part in only_changed(draft):
        part.hunks = hunks_of(part.before, part.after, 0)
        if any(not hunk.of("-") for hunk in part.hunks):
            draft.expect("either")


@fault("hunk", HUNKS)
def one_line_of_context(draft: Draft) -> None:
    for part in only_changed(draft):
        part.hunks = hunks_of(part.before, part.after, 1)


@fault("hunk", HUNKS)
def no_context_below(draft: Draft) -> None:
    only_changed(draft)
    for hunk in draft.hunks():
        while hunk.lines and hunk.lines[-1].mark == " ":
            hunk.lines.pop()
        hunk.counted = False


@fault("hunk", HUNKS)
def context_dropped(draft: Draft) -> None:
    """A line in the midst is left out, as when the file has grown since."""
    found = []
    for hunk, i in draft.context_lines(inner=True):
        if hunk.lines[i - 1].mark == " " == hunk.lines[i + 1].mark:
            found.append((hunk, i))
    hunk, i = draft.pick(found)
    del hunk.lines[i]
    if draft.shape == "blocks":
        draft.expect("either")


@fault("hunk", HUNKS)
def context_dropped_at_the_change(draft: Draft) -> None:
    """The line next to the edit is missing, so that the exact place is not certain."""
    found = []
    for hunk, i in draft.context_lines(inner=True):
        old = [at for at, line in enumerate(hunk.lines) if line.mark in (" ", "-")]
        beside = {hunk.lines[i - 1].mark, hunk.lines[i + 1].mark} & {"-", "+"}
        if beside and i not in (old[0], old[-1]):  # else nothing shows that there is a gap
            found.append((hunk, i))
    hunk, i = draft.pick(found)
    del hunk.lines[i]
    draft.expect("either")


@fault("hunk", HUNKS)
def context_invented_comment(draft: Draft) -> None:
    hunk, i = draft.pick(draft.context_lines(inner=True))
    if hunk.lines[i - 1].mark != " " or draft.shape == "blocks":
        draft.expect("either")
    indent = re.match(r"\s*", hunk.lines[i].text)[0]
    hunk.lines.insert(i, Line(" ", f"{indent}# keep the order as it is here"))


@fault("hunk", HUNKS)
def context_invented_blank(draft: Draft) -> None:
    hunk, i = draft.pick(draft.context_lines(inner=True))
    if hunk.lines[i - 1].mark != " " or draft.shape == "blocks":
        draft.expect("either")
    hunk.lines.insert(i, Line(" ", ""))


@fault("hunk", HUNKS)
def context_invented_code(draft: Draft) -> None:
    hunk, i = draft.pick(draft.context_lines())
    indent = re.match(r"\s*", hunk.lines[i].text)[0]
    hunk.lines.insert(i, Line(" ", f"{indent}previous_total = compute_nothing_at_all()"))
    draft.expect("either")


def elide(draft: Draft, make: Callable[[str], Line]) -> None:
    found = []
    for hunk in draft.hunks():
        marks = "".join(line.mark or "\\" for line in hunk.lines)
        found += [
            (hunk, run)
            for run in re.finditer(r"(?<=[-+] ) {3,}(?= [-+])|(?<=  ) {3,}(?= [-+])", marks)
        ]
    hunk, run = draft.pick(found)
    indent = re.match(r"\s*", hunk.lines[run.start()].text)[0]
    hunk.lines[run.start() : run.end()] = [make(indent)]
    hunk.elided = True
    if draft.shape == "blocks":
        draft.expect("either")


@fault("hunk", HUNKS, context=8)
def context_elided_by_dots(draft: Draft) -> None:
    mark = draft.rng.choice(["", " "])
    elide(draft, lambda indent: Line(mark, indent + "..."))


@fault("hunk", HUNKS, context=8)
def context_elided_by_a_comment(draft: Draft) -> None:
    words = draft.rng.choice(["... existing code ...", "... (rest unchanged)", "..."])
    elide(draft, lambda indent: Line(" ", f"{indent}# {words}"))


@fault("hunk", HUNKS)
def context_has_a_wrong_letter(draft: Draft) -> None:
    hunk, i = draft.pick(draft.context_lines())
    line = hunk.lines[i]
    at = draft.pick([m.start() for m in re.finditer(r"(?<=[a-z])[a-z](?=[a-z])", line.text)])
    other = draft.rng.choice([c for c in "aeinorstu" if c != line.text[at]])
    changed = line.text[:at] + other + line.text[at + 1 :]
    hunk.lines[i] = Line(" ", changed)
    # the smaller the line, the less it is the same line
    if len(bare(line.text)) < 12 or draft.shape == "blocks":
        draft.expect("either")


@fault("hunk", HUNKS)
def context_has_the_other_quotes(draft: Draft) -> None:
    found = [(h, i) for h, i in draft.context_lines() if re.search("[\"']", h.lines[i].text)]
    hunk, i = draft.pick(found)
    swapped = hunk.lines[i].text.translate(str.maketrans("\"'", "'\""))
    hunk.lines[i] = Line(" ", swapped)
    if draft.shape == "blocks":
        draft.expect("either")


@fault("hunk", HUNKS)
def context_says_something_else(draft: Draft) -> None:
    """A number or a word differs: it may well be another place, or another version."""
    hunk, i = draft.pick(draft.context_lines())
    text = hunk.lines[i].text
    word = draft.pick(re.findall(r"[A-Za-z_]{4,}", text))
    hunk.lines[i] = Line(" ", text.replace(word, "completely_different"))
    draft.expect("either")


@fault("hunk", HUNKS)
def removed_has_a_wrong_letter(draft: Draft) -> None:
    lines = [ln for h in draft.hunks() for ln in h.of("-") if re.search(r"[a-z]{4}", ln.text)]
    line = draft.pick(lines)
    at = re.search(r"[a-z]{4}", line.text).start() + 1
    line.text = line.text[:at] + ("x" if line.text[at] != "x" else "y") + line.text[at + 1 :]
    line.origin = None
    draft.expect("either")


@fault("hunk", HUNKS)
def removes_a_stranger(draft: Draft) -> None:
    """A line is to go that the file does not have."""
    only_changed(draft)
    hunk = draft.pick(draft.hunks())
    at = next(i for i, line in enumerate(hunk.lines) if line.mark in ("-", "+"))
    indent = re.match(r"\s*", hunk.lines[at].text)[0]
    hunk.lines.insert(at, Line("-", f"{indent}obsolete_helper(legacy=True, retries=3)"))
    draft.expect("refuse")


def shift(draft: Draft, columns: int) -> None:
    """Whole hunks deeper, or less deep where they have the room."""
    only_changed(draft)
    for hunk in draft.hunks():
        filled = [line for line in hunk.lines if line.text.strip() and line.text != NO_NEWLINE]
        if any(line.text[:1] == "\t" for line in filled) or not hunk.of(" ", "-"):
            raise DoesNotApply
        if not any(bare(line.text) for line in hunk.of(" ", "-")):
            raise DoesNotApply  # nothing shows that it is shifted
        if any(line.text and not line.text.strip() for line in hunk.of("+")):
            raise DoesNotApply
        room = min(len(line.text) - len(line.text.lstrip(" ")) for line in filled)
        less = room >= columns and draft.rng.random() < 0.6
        for line in filled:
            line.text = line.text[columns:] if less else " " * columns + line.text


@fault("hunk", HUNKS)
def shifted_by_4(draft: Draft) -> None:
    shift(draft, 4)


@fault("hunk", HUNKS)
def shifted_by_2(draft: Draft) -> None:
    shift(draft, 2)


def judge_tabs(draft: Draft, part: Part) -> None:
    """Only lines of the file can prove that tabs stand for spaces."""
    old = [[line.text for line in hunk.of(" ", "-")] for hunk in part.hunks]
    new = [[line.text for line in hunk.of("+")] for hunk in part.hunks]
    proved = [any(text.startswith("    ") for text in texts) for texts in old]
    needed = [any(text.startswith("    ") for text in texts) for texts in new]
    filled = [text for texts in old + new for text in texts if text.strip()]
    odd = any((len(text) - len(text.lstrip(" "))) % 4 for text in filled)
    if any(need and not proof for need, proof in zip(needed, proved)):
        if not any(proved):
            raise DoesNotApply
        draft.expect("either")
    if any(text and not text.strip() for texts in new for text in texts):
        raise DoesNotApply
    if odd:
        draft.expect("either")


@fault("hunk", HUNKS)
def tabs_for_spaces(draft: Draft) -> None:
    for part in draft.parts:
        judge_tabs(draft, part)
    for hunk in draft.hunks():
        if any("\t" in line.text for line in hunk.lines):
            raise DoesNotApply
        for line in hunk.lines:
            line.text = re.sub(r"^(    )+", lambda run: "\t" * (len(run[0]) // 4), line.text)
    if not any(line.text.startswith("\t") for hunk in draft.hunks() for line in hunk.lines):
        raise DoesNotApply


@fault("world", HUNKS)
def spaces_for_tabs(draft: Draft) -> None:
    """The file is indented by tabs, the reply by four spaces."""
    for part in only_changed(draft):
        if "\t" in part.before + part.after or not re.search(r"^    ", part.before, re.M):
            raise DoesNotApply
        part.hunks = hunks_of(part.before, part.after, 3)
        judge_tabs(draft, part)
        part.before, part.after = (
            re.sub(r"^(    )+", lambda run: "\t" * (len(run[0]) // 4), text, flags=re.M)
            for text in (part.before, part.after)
        )


@fault("hunk", HUNKS)
def trailing_space_added(draft: Draft) -> None:
    """To lines of the file; what is added stays as it is."""
    only_changed(draft)
    for hunk in draft.hunks():
        for line in hunk.of(" ", "-"):
            line.text += draft.rng.choice(["", " ", "  ", "\t"])


@fault("hunk", HUNKS)
def one_line_has_trailing_space(draft: Draft) -> None:
    only_changed(draft)
    draft.pick(line for hunk in draft.hunks() for line in hunk.of(" ", "-")).text += " "


def forget_plus(draft: Draft, keep_column: bool) -> None:
    known = {bare(line) for part in draft.parts for line in lines_of(part.before)}
    found = []
    for hunk in (hunk for part in only_changed(draft) for hunk in part.hunks):
        for i, line in enumerate(hunk.lines):
            around = [hunk.lines[k].mark for k in (i - 1, i + 1) if 0 <= k < len(hunk.lines)]
            if line.mark == "+" and bare(line.text) and bare(line.text) not in known:
                found.append((hunk, i, around == ["+", "+"]))
    hunk, i, inside = draft.pick(found)
    if LOOKS_LIKE_MARKUP.match(hunk.lines[i].text) or not (inside or hunk.counted):
        raise DoesNotApply
    if not inside:
        draft.expect("either")
    hunk.lines[i] = Line("" if not keep_column else " ", hunk.lines[i].text)
    draft.needs_counts = not inside


@fault("hunk", DIFF)
def plus_forgotten(draft: Draft) -> None:
    forget_plus(draft, keep_column=False)


@fault("hunk", DIFF)
def plus_became_a_space(draft: Draft) -> None:
    forget_plus(draft, keep_column=True)


def forget_minus(draft: Draft, keep_column: bool) -> None:
    only_changed(draft)
    line = draft.pick(ln for hunk in draft.hunks() for ln in hunk.of("-") if bare(ln.text))
    if LOOKS_LIKE_MARKUP.match(line.text):
        raise DoesNotApply
    line.mark = " " if keep_column else ""
    draft.hopeless_without_counts = True
    draft.expect("either")


@fault("hunk", DIFF)
def minus_forgotten(draft: Draft) -> None:
    forget_minus(draft, keep_column=False)


@fault("hunk", DIFF)
def minus_became_a_space(draft: Draft) -> None:
    forget_minus(draft, keep_column=True)


@fault("hunk", HUNKS)
def context_rewritten(draft: Draft) -> None:
    """All removed, and all added again."""
    for part in only_changed(draft):
        for hunk in part.hunks:
            if NO_NEWLINE in [line.text for line in hunk.lines]:
                raise DoesNotApply
            old = [replace(line, mark="-") for line in hunk.of(" ", "-")]
            new = [replace(line, mark="+", origin=None) for line in hunk.of(" ", "+")]
            hunk.lines = old + new


@fault("hunk", HUNKS)
def hunks_out_of_order(draft: Draft) -> None:
    several = [part for part in draft.parts if len(part.hunks) > 1]
    draft.pick(several).hunks.reverse()
    draft.out_of_order = True


@fault("hunk", ("diff", "v4a"))
def hunk_repeated(draft: Draft) -> None:
    part = draft.pick(part for part in only_changed(draft) if part.hunks)
    texts = [line.removesuffix("\n") for line in lines_of(part.before)]
    if len(at_places([line.text for line in part.hunks[0].of(" ", "-")], texts)) > 1:
        raise DoesNotApply  # it may mean each of the places
    part.hunks.append(part.hunks[0])
    draft.expect("either" if not part.hunks[0].of("-") else "after")


# ---- headers, fences and paths


def heads(draft: Draft, make: Callable[[Hunk], str], number: bool = False) -> None:
    for hunk in draft.hunks():
        if hunk.head:
            hunk.head = make(hunk)
            hunk.number = hunk.number if number else None
            hunk.counted = False
    if any(not part.old or not part.new for part in draft.parts):
        return


for _name, _heads in {
    "numbers_elided": ["@@ ... @@", "@@ -... +... @@", "@@ -?,? +?,? @@", "@@ -XX,XX +XX,XX @@"],
    "numbers_missing": ["@@", "@@ @@", "@@  @@", "@@ @@ "],
}.items():

    def _replace_heads(draft: Draft, choices: list[str] = _heads) -> None:
        head = draft.rng.choice(choices)
        heads(draft, lambda _: head)

    fault("look", DIFF, name=_name)(_replace_heads)


@fault("look", DIFF)
def numbers_are_a_heading(draft: Draft) -> None:
    """`@@ def f():` in place of numbers."""
    only_changed(draft)
    for part in draft.parts:
        for hunk in part.hunks:
            head = v4a_head(part, hunk)
            hunk.head = head if draft.rng.random() < 0.5 else f"{head} @@"
            hunk.number, hunk.counted = None, False
    if all(hunk.head.strip("@ ") == "" for hunk in draft.hunks()):
        raise DoesNotApply


@fault("look", DIFF)
def counts_missing(draft: Draft) -> None:
    """Without counts the format says one line each, which is not so."""
    heads(draft, lambda hunk: re.sub(r",\d+", "", hunk.head), number=True)


@fault("look", DIFF)
def counts_wrong(draft: Draft) -> None:
    def off(found: re.Match[str]) -> str:
        return f",{max(0, int(found[1]) + draft.rng.choice([-3, -2, -1, 1, 2, 5]))}"

    heads(draft, lambda hunk: re.sub(r",(\d+)", off, hunk.head), number=True)


@fault("look", DIFF)
def numbers_wrong(draft: Draft) -> None:
    only_changed(draft)
    for hunk in draft.hunks():
        number = max(
            1, (hunk.number or 1) + draft.rng.choice([-40, -9, -4, -2, -1, 1, 2, 3, 7, 60])
        )
        counts = [*re.findall(r",\d+", hunk.head), "", ""]
        if hunk.number:
            hunk.head = f"@@ -{number}{counts[0]} +{number}{counts[1]} @@"
            hunk.number = number


@fault("look", DIFF)
def numbers_and_counts_wrong(draft: Draft) -> None:
    numbers_wrong(draft)
    counts_wrong(draft)


@fault("look", DIFF)
def heading_after_numbers(draft: Draft) -> None:
    for hunk in draft.hunks():
        hunk.head += draft.rng.choice(
            [" def something(self):", " class Other:", " # -1 +1", " @@ x"]
        )


@fault("look", DIFF)
def no_hunk_header(draft: Draft) -> None:
    for part in draft.parts:
        if len(part.hunks) > 1:
            raise DoesNotApply
    heads(draft, lambda _: "")
    draft.expect("either")


@fault("look", DIFF)
def no_git_line(draft: Draft) -> None:
    if any(part.head is None and (part.mode or not part.hunks) for part in draft.parts):
        raise DoesNotApply
    draft.git = False


@fault("look", DIFF)
def no_prefixes(draft: Draft) -> None:
    draft.prefixes, draft.git = ("", ""), draft.rng.random() < 0.3


@fault("look", DIFF)
def other_prefixes(draft: Draft) -> None:
    draft.prefixes = draft.rng.choice([("i/", "w/"), ("./", "./"), ("a/", ""), ("c/", "i/")])
    draft.git = False


@fault("look", DIFF)
def only_the_git_line(draft: Draft) -> None:
    only_changed(draft)
    draft.names = False
    draft.expect("either")


@fault("look", DIFF)
def names_with_times_and_index(draft: Draft) -> None:
    for part in draft.parts:
        if part.head is not None:
            raise DoesNotApply
        lines = header(draft, part)
        stamp = "\t2024-05-01 10:00:00.000000000 +0200"
        part.head = [x + stamp if x.startswith(("---", "+++")) else x for x in lines]
        at = next((i for i, x in enumerate(lines) if x.startswith("---")), len(lines))
        same = part.old == part.new and not part.mode
        part.head.insert(at, "index 1a2b3c4..5d6e7f8" + " 100644" * same)


@fault("look", DIFF)
def svn_header(draft: Draft) -> None:
    for part in only_changed(draft):
        if part.old != part.new or part.mode or part.head is not None:
            raise DoesNotApply
        part.head = [f"Index: {part.name}", "=" * 67, f"--- {part.old}", f"+++ {part.new}"]


@fault("look", DIFF)
def path_only_in_prose(draft: Draft) -> None:
    """Hunks without any header; the file is named in the sentence before."""
    if len(draft.parts) > 1 or not (draft.parts[0].old and draft.parts[0].new):
        raise DoesNotApply
    draft.parts[0].head = []
    draft.intro = [f"In `{draft.parts[0].name}`:", ""]
    draft.expect("either")


@fault("look", DIFF)
def path_with_the_folder_of_the_repository(draft: Draft) -> None:
    draft.prefixes, draft.git = ("a/project/", "b/project/"), False
    draft.expect("either")


for _name, (_open, _close) in {
    "fence_of_tildes": ("~~~diff", "~~~"),
    "fence_of_four": ("````diff", "````"),
    "fence_says_python": ("```python", "```"),
    "fence_says_nothing": ("```", "```"),
    "fence_says_patch_and_more": ('```patch title="x.py" {.numbers}', "```"),
    "fence_closed_by_more": ("```diff", "`````"),
    "no_fence": ("", ""),
}.items():

    def _set_fence(draft: Draft, pair: tuple[str, str] = (_open, _close)) -> None:
        draft.fence = pair

    fault("look", HUNKS, name=_name)(_set_fence)


@fault("look", DIFF)
def no_fence_and_nothing_else(draft: Draft) -> None:
    draft.fence, draft.intro, draft.outro = ("", ""), [], []


@fault("look", DIFF)
def fence_indented(draft: Draft) -> None:
    draft.indent = draft.rng.choice(["  ", "   ", "    "])
    draft.intro = ["1. Change this:", ""]


@fault("look", DIFF)
def fence_never_closed(draft: Draft) -> None:
    draft.fence, draft.outro = (draft.fence[0], ""), []
    draft.needs_counts = True


@fault("look", HUNKS)
def prose_with_a_list_after(draft: Draft) -> None:
    draft.outro = ["", "What changed:", "", "- the first thing", "- `x` is now `y`", "+ more", ""]
    if not draft.fence[0]:
        draft.needs_counts = True


@fault("look", DIFF)
def no_fence_and_a_list_after(draft: Draft) -> None:
    draft.fence = ("", "")
    draft.outro = ["", "- I changed the first thing", "- and the second", ""]
    if any(not hunk.counted for hunk in draft.hunks()):
        draft.expect("either")
    draft.needs_counts = True


@fault("look", HUNKS)
def prose_with_other_fences(draft: Draft) -> None:
    draft.intro = ["First install it:", "", "```bash", "pip install thing", "```", "", "Then:", ""]
    draft.outro = ["", "Use it so:", "", "```python", "print(thing(1))", "```", "", "Done.", ""]


@fault("look", ALL)
def prose_names_other_things(draft: Draft) -> None:
    """Code and files that are no target stand in the text before."""
    words = ["I looked at `lib/other.py`, NOTES and `Thing.method`; `other.py` is fine.", ""]
    draft.intro = [*words, *draft.intro]


@fault("look", DIFF)
def one_fence_for_each_file(draft: Draft) -> None:
    if len(draft.parts) < 2:
        raise DoesNotApply
    draft.apart, draft.between = "file", ["", "And the other file:", ""]


@fault("look", DIFF)
def one_diff_for_each_hunk(draft: Draft) -> None:
    if len(draft.hunks()) < 2 or any(part.head is not None for part in draft.parts):
        raise DoesNotApply
    if any(p.old != p.new or p.mode for p in draft.parts):
        draft.expect("either")
    draft.apart, draft.between = "hunk", ["", "Then:", ""]


@fault("look", DIFF)
def one_bare_diff_for_each_hunk(draft: Draft) -> None:
    one_diff_for_each_hunk(draft)
    draft.fence, draft.between = ("", ""), [""]


# ---- search/replace blocks, whole files, whole definitions


for _name, _marks in {
    "block_of_five": (5, "SEARCH", "REPLACE"),
    "block_of_nine": (9, "SEARCH", "REPLACE"),
    "block_says_original": (7, "ORIGINAL", "UPDATED"),
}.items():

    def _set_marks(draft: Draft, marks: tuple[int, str, str] = _marks) -> None:
        draft.block_marks = marks
        if marks[1] != "SEARCH":
            draft.expect("either")

    fault("look", ("blocks",), name=_name)(_set_marks)

for _name, _line in {
    "path_in_ticks": "`{}`",
    "path_in_bold": "**{}**",
    "path_in_a_heading": "### {}",
    "path_in_a_sentence": "Here is the updated `{}`:",
    "path_after_file": "File: {}",
    "path_in_bold_ticks": "**`{}`**",
    "path_with_a_colon": "{}:",
}.items():

    def _set_line(draft: Draft, line: str = _line) -> None:
        draft.path_line = line

    fault("look", ("blocks", "file", "def"), name=_name)(_set_line)


@fault("look", ("blocks",))
def path_inside_the_fence(draft: Draft) -> None:
    draft.path_at = "inside"


@fault("look", ("blocks",))
def path_after_the_fence(draft: Draft) -> None:
    draft.path_at = "after"
    draft.expect("either")


@fault("look", ("blocks",))
def block_without_a_divider(draft: Draft) -> None:
    def remove(lines: list[str], _: int) -> str:
        at = next(i for i, line in enumerate(lines) if re.fullmatch(r"={5,9}", line))
        return "\n".join(lines[:at] + lines[at + 1 :]) + "\n"

    draft.spoil_text.append(remove)
    draft.expect("refuse")


@fault("look", ("v4a",))
def patch_in_a_heredoc(draft: Draft) -> None:
    draft.intro = ["```bash", "apply_patch <<'EOF'"]
    draft.fence, draft.outro = ("", ""), ["EOF", "```"]


for _name in ("info", "colon", "title", "comment"):

    def _set_path_at(draft: Draft, at: str = _name) -> None:
        draft.path_at = at

    fault("look", ("file", "def"), name=f"path_in_the_{_name}")(_set_path_at)


@fault("world", ("file",))
def file_is_elided(draft: Draft) -> None:
    """Long runs that stay are left out, with a comment in their place."""
    part = only_changed(draft)[0]
    old, new = lines_of(part.before), lines_of(part.after)
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    runs = [(k, m) for kind, _, _, k, m in codes if kind == "equal" and m - k > 12]
    k, m = draft.pick(runs)
    words = draft.rng.choice(["... rest unchanged ...", "... existing code ...", "(unchanged)"])
    indent = re.match(r"[ \t]*", new[k + 4])[0]
    part.shown = "".join([*new[: k + 4], f"{indent}# {words}\n", *new[m - 4 :]])
    draft.expect("either")


@fault("world", ("file",))
def file_is_only_its_changed_part(draft: Draft) -> None:
    """A few new lines with those around them, and nothing that says where."""
    draft.parts[:] = only_changed(draft)[:1]
    part = draft.parts[0]
    new = lines_of(part.after)
    codes = difflib.SequenceMatcher(None, lines_of(part.before), new, autojunk=False).get_opcodes()
    changed = [code for code in codes if code[0] != "equal"]
    start, end = changed[0][3], changed[-1][4]
    if end - start + 8 > len(new) * 0.6:
        raise DoesNotApply
    part.shown = "".join(new[max(0, start - 4) : end + 4])
    draft.expect("either")


@fault("world", ("file",))
def file_is_only_quoted(draft: Draft) -> None:
    """The reply explains some lines of a file, and changes nothing."""
    draft.parts[:] = only_changed(draft)[:1]
    part = draft.parts[0]
    old = lines_of(part.before)
    at = draft.rng.randrange(max(1, len(old) - 5))
    part.shown = "".join(old[at : at + draft.rng.choice([3, 6, 12])]).rstrip() + "\n"
    if len(old) < 20 or not part.shown.strip():
        raise DoesNotApply
    draft.intro, draft.outro = ["This is how it works now.", ""], ["", "It needs no change."]
    draft.expect("refuse")


@fault("world", ("diff", "blocks", "v4a"))
def old_code_is_quoted_first(draft: Draft) -> None:
    part = only_changed(draft)[0]
    hunk = hunks_of(part.before, part.after, 3)[0]
    quoted = [line.text for line in hunk.of(" ", "-") if not re.match(r"\s*(```|~~~)", line.text)]
    draft.intro = [f"In `{part.name}` it says now:", "", "```python", *quoted, "```", ""]
    draft.intro += ["So change it:", ""]
    draft.expect("either")


# ---- the whole reply is spoilt


@fault("text", ALL)
def reply_has_crlf(draft: Draft) -> None:
    draft.spoil_text.append(lambda lines, _: "\r\n".join(lines) + "\r\n")


@fault("text", ALL)
def reply_has_no_last_newline(draft: Draft) -> None:
    """It ends with its last line of the edit, or of the fence."""
    draft.spoil_text.append(lambda lines, _: "\n".join(lines).rstrip("\n"))


@fault("look", DIFF)
def diff_has_no_last_newline(draft: Draft) -> None:
    draft.fence, draft.outro = ("", ""), []
    draft.needs_counts = True
    draft.spoil_text.append(lambda lines, _: "\n".join(lines))


@fault("text", ("diff", "blocks", "v4a", "file"))
def tail_is_cut_off(draft: Draft) -> None:
    """Before the last line that changes something; in the midst of a line, or at its end."""
    whole_line = bool(draft.fence[0]) and draft.rng.random() < 0.5
    if draft.parts[-1].new is None or not any(p.hunks for p in draft.parts[-1:]):
        raise DoesNotApply

    def cut(lines: list[str], last_change: int) -> str:
        opens = re.compile(r"\s*(@@|\+\+\+ |<{5,9} |```|~~~)")
        first = 1 + max(i for i, line in enumerate(lines[:last_change]) if opens.match(line))
        at = draft.rng.randint(min(first, last_change), last_change)
        if whole_line:
            return "\n".join(lines[:at]) + "\n"
        return "\n".join([*lines[:at], lines[at][: max(1, len(lines[at]) // 2)]])

    draft.spoil_text.append(cut)
    draft.expect("refuse")
