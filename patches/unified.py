"""One canonical unified diff for what a file becomes, as `git apply` takes it.

Knows nothing of repositories. Format: git's "Generating patch text with -p".
"""

import difflib
import re

from shapes import Change

CONTEXT_LINES = 3


def canonical(change: Change, before: str) -> str:
    """The change of one file, headers and all; `before` is the file's text until now."""
    old, new = _quoted(f"a/{change.old_path or change.path}"), _quoted(f"b/{change.path}")
    head = [f"diff --git {old} {new}"]
    if change.action == "create":
        head.append(f"new file mode {change.mode}")
    elif change.action == "delete":
        head.append(f"deleted file mode {change.mode}")
    elif change.old_mode != change.mode:
        head += [f"old mode {change.old_mode}", f"new mode {change.mode}"]
    if change.action == "rename":
        head += [f"rename from {old.replace('a/', '', 1)}", f"rename to {new.replace('b/', '', 1)}"]
    sides = (
        "/dev/null" if change.action == "create" else old,
        "/dev/null" if change.action == "delete" else new,
    )
    return "\n".join(head) + "\n" + unified(before, change.after or "", *sides)


def unified(before: str, after: str, old: str, new: str) -> str:
    """`---`, `+++` and the hunks; "" when the texts are the same."""
    lines = difflib.unified_diff(_lines(before), _lines(after), old, new, n=CONTEXT_LINES)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _quoted(path: str) -> str:
    """Git's C-style quoting, where a name needs it."""
    if not re.search(r'["\\\x00-\x1f\x7f]', path):
        return path
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\{ord(m[0]):03o}", escaped) + '"'
