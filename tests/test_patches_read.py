"""Where edits stand in a reply, and what they say. # J1 J2"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patches import find

DIFF = "--- a/f.py\n+++ b/f.py\n@@ -1,2 +1,2 @@\n x\n-y\n+z\n"
SCRAPS = [
    "--- a/f\n",
    "+++ b/f\n",
    "@@ -1,2 +1,2 @@\n",
    "@@",
    "@@ -1 +1 @@\r\n",
    " a\n",
    "-a\n",
    "+a",
]
SCRAPS += [
    "\n",
    "\r\n",
    "```diff\n",
    "```\n",
    "  ~~~~\n",
    "diff --git a/f b/f\n",
    "rename from\n",
    "\f",
]
SCRAPS += [
    "rename from a\n",
    "GIT binary patch\n",
    "new file mode\n",
    "\\ No newline\n",
    "- x\n",
    "text\n",
]
SCRAPS += [
    '--- "a/\\303"\n',
    "--- /dev/null\n",
    "+++ /dev/null\n",
    "\ud800\n",
    "\0",
    "-- \n",
    "@@@\n",
]


def edits(reply: str) -> list:
    return [edit for segment in find(reply) for edit in segment.edits]


def lines(reply: str) -> list[tuple[str, str]]:
    """The marked lines of the only hunk."""
    (edit,) = edits(reply)
    assert not edit.trouble
    (hunk,) = edit.hunks
    return hunk.lines


@given(st.one_of(st.text(), st.lists(st.sampled_from(SCRAPS), max_size=25).map("".join)))
def test_any_text_is_taken_apart_without_loss(reply: str) -> None:
    segments = find(reply)
    assert "".join(segment.text for segment in segments) == reply
    assert all(segment.text for segment in segments)


@pytest.mark.parametrize(
    "reply",
    [
        f"Do this:\n\n```diff\n{DIFF}```\n\nDone.\n",
        f"~~~\n{DIFF}~~~",
        f"````python title='x'\n{DIFF}````\n",
        f"```diff {{.numberLines}}\n{DIFF}\n\n```",
        f"~~~~ patch `x`\n{DIFF}~~~~~  \n",
        "1. Do:\n" + "".join(f"   {line}\n" for line in f"```\n{DIFF}```".split("\n")),
        f"Bare:\n\n{DIFF}",
        f"Bare:\n\n{DIFF}\n- not a part\n- of it\n",
        f"Bare:\n{DIFF}That is all.",
        f"Bare:\n\n{DIFF}\nThat is all.\n",
        f"diff --git a/f.py b/f.py\nindex 123..456 100644\n{DIFF}",
        f"From 1 Mon\nSubject: x\n---\n f.py | 2 +-\n\n{DIFF}-- \n2.39.2\n",
        f"```diff\nindex: f.py\n=====\n{DIFF}```\n",
        DIFF.replace("\n", "\r\n"),
        DIFF.replace("-1,2 +1,2 ", ""),
        DIFF.replace("-1,2 +1,2", "-7,9 +7,1"),
        DIFF.replace("-1,2 +1,2", "..."),
    ],
)
def test_an_edit_is_found_however_it_is_wrapped(reply: str) -> None:
    assert lines(reply) == [(" ", "x"), ("-", "y"), ("+", "z")]
    segments = find(reply)
    assert sum(bool(segment.edits) for segment in segments) == 1
    prose = "".join(segment.text for segment in segments if not segment.edits)
    assert "@@" not in prose and "+z" not in prose


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Hello.",
        "```python\nx = 1\n```\n",
        "---\n+++ what\n",
        "```",
        "@@property = 1\n",
        "a\n--- b",
    ],
)
def test_a_reply_without_an_edit_is_prose(reply: str) -> None:
    assert not any(segment.edits for segment in find(reply))


def test_prose_around_keeps_its_blank_lines() -> None:
    segments = find(f"One.\n\n{DIFF}\nTwo.\n")
    assert [segment.text for segment in segments if segment.edits] == [DIFF]
    prose = "".join(segment.text for segment in segments if not segment.edits)
    assert prose == "One.\n\n\nTwo.\n"


def test_several_files_and_fences_are_all_found() -> None:
    other = DIFF.replace("f.py", "g.py")
    for reply in (DIFF + other, f"{DIFF}\n{other}", f"```\n{DIFF}\n{other}```\n\n```\n{DIFF}```\n"):
        assert [edit.old for edit in edits(reply)][:2] == ["a/f.py", "a/g.py"]
        assert not any(edit.trouble for edit in edits(reply))


def test_a_diff_of_a_markdown_file_may_hold_fences() -> None:
    body = "--- a/r.md\n+++ b/r.md\n@@ -1,4 +1,4 @@\n ```sh\n-ls\n+ls -l\n ```\n end\n"
    marked = [(" ", "```sh"), ("-", "ls"), ("+", "ls -l"), (" ", "```"), (" ", "end")]
    assert lines(f"```diff\n{body}```\n") == marked
    assert lines(f"````diff\n{body}````\n") == marked


def test_a_fence_that_is_closed_too_early_by_its_own_content_is_told() -> None:
    body = "--- a/r.md\n+++ b/r.md\n@@ -1,4 +1,4 @@\n x\n```\n-ls\n+ls -l\n end\n"
    assert edits(f"```diff\n{body}```\n")[0].trouble


def test_removed_lines_that_look_like_a_header_are_content() -> None:
    body = "--- a/q.sql\n+++ b/q.sql\n@@ -1,2 +1,2 @@\n x\n--- old note\n+++ new note\n"
    marked = [(" ", "x"), ("-", "-- old note"), ("+", "++ new note")]
    more = "@@ -9 +9 @@\n-y\n+z\n"
    assert edits(f"```\n{body}{more}```\n")[0].hunks[0].lines == marked
    assert edits(body + more)[0].hunks[0].lines == marked
    assert lines(body.replace("+++ new", "+-- new"))[-1] == ("+", "-- new note")


def test_a_header_after_a_hunk_that_promised_more_is_a_header() -> None:
    other = DIFF.replace("f.py", "g.py")
    reply = DIFF.replace("-1,2 +1,2", "-1,9 +1,9") + other
    assert [(edit.new, len(edit.hunks)) for edit in edits(reply)] == [("b/f.py", 1), ("b/g.py", 1)]


def test_blank_lines_that_lost_their_mark_are_context() -> None:
    body = "--- a/f\n+++ b/f\n@@ -1,4 +1,4 @@\n x\n\n-y\n+z\n\n w\n"
    marked = [(" ", "x"), (" ", ""), ("-", "y"), ("+", "z"), (" ", ""), (" ", "w")]
    assert lines(body) == lines(f"```\n{body}```\n") == marked
    assert lines(f"```\n{body.replace('-1,4 +1,4', '-1 +1')}```\n") == marked


@pytest.mark.parametrize(
    "reply",
    [
        f"```diff\n{DIFF[:-3]}",  # an open fence
        DIFF.rstrip("\n")[:-3],
        f"```diff\n{DIFF.replace('-1,2 +1,2 ', '')}",  # no counts: nothing says that it is whole
        "diff --git a/x b/y\nsimilarity index 100%\ncopy from x\ncopy to y\n",
        "diff --git a/x b/x\nindex 1..2\nBinary files a/x and b/x differ\n",
        "--- /dev/null\n+++ b/new.py",
        f"{DIFF}--- a/f.py\n+++ b/f.py\n",  # a header, and then no hunk
        "--- a/f.py\n+++ /dev/null\n",
        "diff --git a/x b/y\nrename from x\n",
        "diff --git a/x b/x\nrename from x\n",
        "diff --git a/x b/y\nrename to y\n",
        "diff --git a/x b/x\nnew mode 100755\nwhat is this\n",
        "diff --git a/x b/y\nrename from x\nrename to y\nGIT binary patch\nliteral 1\n",
    ],
)
def test_what_may_be_lost_is_told(reply: str) -> None:
    assert [edit for edit in edits(reply) if edit.trouble]


def test_a_hunk_without_a_header_belongs_to_the_file_before_or_has_no_name() -> None:
    second = "@@ -9 +9 @@\n-p\n+q\n"
    assert edits(f"{DIFF}\nAnd then:\n\n{second}")[1].said == ("And then:", "b/f.py")
    assert edits(second)[0].names() == ()


@pytest.mark.parametrize(
    ("header", "old", "new"),
    [
        ("--- a/my file.py\t\n+++ b/my file.py\t\n@@\n+x\n", "a/my file.py", "b/my file.py"),
        ("--- a/f\t2024-01-01\n+++ b/f\t2024-01-01\n@@\n+x\n", "a/f", "b/f"),
        ('--- "a/\\303\\251\\t\\"\\\\"\n+++ "b/é"\n@@\n+x\n', 'a/é\t"\\', "b/é"),
        ('--- "a/\\"\n+++ "b/\\u1234"\n@@\n+x\n', '"a/\\"', '"b/\\u1234"'),
        ("--- /dev/null\n+++ b/n\n@@\n+x\n", None, "b/n"),
        ("--- a/n\n+++ /dev/null\n@@\n-x\n", "a/n", None),
        ("diff --git a/e b/e\nnew file mode 100644\nindex 0..e6\n", None, "b/e"),
        ("diff --git a/e b/e\ndeleted file mode 100644\nindex e6..0\n", "a/e", None),
        ("diff --git a/p q b/p q\nold mode 100644\nnew mode 100755\n", "a/p q", "b/p q"),
        ("diff --git a/x b/y\nrename from x\nrename to y\n", "a/x", "b/y"),
        ("diff --git x b/y z\nrename from b/x\nrename to y z\n", "a/b/x", "b/y z"),
    ],
)
def test_names_are_read_as_git_writes_them(header: str, old: str | None, new: str | None) -> None:
    (edit,) = edits(header)
    assert (edit.old, edit.new, edit.trouble) == (old, new, "")


def test_missing_newlines_are_noted_for_their_side() -> None:
    body = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+y\n"
    assert edits(body)[0].hunks[0].open_ended == {"-"}
    assert edits(body + "\\ Kein Zeilenumbruch\n")[0].hunks[0].open_ended == {"-", "+"}
