"""How a file is cut into units, whose texts joined are the file's."""

import json

from hypothesis import given
from hypothesis import strategies as st

from repo.units import cut

SNIPPETS = ("x = 1\n", "\n", "# c\n", "@d\n", "def f(): pass\n", "class A:\n", "    def g(self):\n")
WILD = st.lists(
    st.sampled_from(
        [*SNIPPETS, "        y\n", "    \x0c\n", "\r\n", "try:\n", "\xa0", "## h\n", "\0"]
    )
)


@given(WILD.map("".join) | st.text(), st.sampled_from(["a.py", "a.md", "a.txt", "a.ipynb"]))
def test_units_join_to_the_text_of_their_file(text: str, path: str) -> None:
    made = [*cut(path, text)]
    assert "".join(unit.text for unit in made) == text
    lines = [text.count("\n", 0, sum(len(it.text) for it in made[:n])) for n in range(len(made))]
    if "\r" not in text:
        assert [unit.line for unit in made] == [line + 1 for line in lines]
    assert all(unit.text.split("\n")[0].split("\r")[0].strip() for unit in made[1:])


CODE = """import os


@cache
def one():
    def two(): pass


class A:
    n = 1

    def b(self): pass
    m = 2
x = 1
"""


def test_a_definition_is_a_unit_with_its_decorators() -> None:
    found = [(unit.line, unit.name, unit.is_function) for unit in cut("a.py", CODE)]
    assert found == [
        (1, "", False),
        (4, "one", True),
        (9, "A", False),
        (12, "A.b", True),
        (13, "A", False),
        (14, "", False),
    ]


def test_long_runs_are_cut_and_long_functions_are_not() -> None:
    body = "".join(f"    x = {n}\n" for n in range(100))
    assert [unit.line for unit in cut("a.py", f"def f():\n{body}")] == [1]
    assert [unit.line for unit in cut("a.txt", body)] == [1, 41, 81]


def test_a_notebook_is_its_cells_without_what_they_printed() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Sums\n", "Two."]},
        {"cell_type": "code", "source": "print(1 + 1)", "outputs": [{"text": "2222"}]},
    ]
    made = [*cut("a.ipynb", json.dumps({"cells": cells}))]
    assert [unit.text for unit in made] == [
        "# %% markdown\n# Sums\nTwo.\n\n",
        "# %% code\nprint(1 + 1)\n\n",
    ]
    assert [unit.name for unit in made] == ["markdown", "code"]
