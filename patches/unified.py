"""One canonical unified diff for what a file becomes, as `git apply` takes it.

Knows nothing of repositories. Format: git's "Generating patch text with -p".
"""

import difflib
import io
import re

from shapes import Change

MUST_QUOTE = re.compile(r'["\\\x00-\x1f\x7f]')


def lines_of(text: str) -> list[str]:
    """The lines with their ends. A form feed or a lone carriage return ends no line."""
    return list(io.StringIO(text, newline="\n"))


def canonical(change: Change, before: str) -> str:
    """The change of one file, headers and all; `before` is the file's text until now."""
    source = change.old_path or change.path
    old, new = _quoted(f"a/{source}"), _quoted(f"b/{change.path}")
    head = f"diff --git {old} {new}\n"
    if change.action == "create":
        head += f"new file mode {change.mode}\n"
        old = "/dev/null"
    elif change.action == "delete":
        head += f"deleted file mode {change.mode}\n"
        new = "/dev/null"
    elif change.old_mode != change.mode:
        head += f"old mode {change.old_mode}\nnew mode {change.mode}\n"
    if change.action == "rename":
        head += f"rename from {_quoted(source)}\nrename to {_quoted(change.path)}\n"
    lines = difflib.unified_diff(lines_of(before), lines_of(change.after or ""), old, new)
    end = "\n\\ No newline at end of file\n"
    return head + "".join(line if line.endswith("\n") else line + end for line in lines)


def _quoted(path: str) -> str:
    """Git's C-style quoting, where a name needs it."""
    quoted = MUST_QUOTE.sub(lambda found: f"\\{ord(found[0]):03o}", path)
    return path if quoted == path else f'"{quoted}"'
