"""What a repository defines, uses and says, looked up without a model. # A12 J3"""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repo.files import Repo
from repo.symbols import Index
from shapes import Place

Make = Callable[..., Path]

FILES = {
    "shop/money.py": (
        '"""Prices, and what they add up to."""\n\n'
        "import os\nfrom decimal import (\n    Decimal,\n)\n\nRATE = 3\n\n\n"
        "def price_of(item: str, *, tax: bool = True) -> int:\n"
        '    """The price of one item.\n\n    More words."""\n'
        "    return RATE\n\n\n"
        "class Till:\n"
        '    """Keeps the takings."""\n\n'
        "    open: bool = False\n\n"
        "    @staticmethod\n"
        "    async def count_takings(self) -> int:\n"
        "        def inner(): return price_of('x')\n"
        "        return inner() + self.open + Till.count_takings\n"
    ),
    "shop/desk.py": "from shop.money import price_of\n\n\ndef sell():\n    return price_of('x')\n",
    "docs/guide.md": (
        "# Guide\n\nHello.\n\n## Restarting the till\n\nIt restarts by itself.\n\n"
        "```\n# no heading\n```\n\n### Rates\n\nThe rate is three.\n"
    ),
    "notes.txt": "\n".join(f"line {number}" for number in range(1, 130)) + "\nzebra here\n",
    "broken.py": "def broken(:\n    zebra_crossing\n",
    "deep.py": "x = " + "(" * 5000 + ")" * 5000 + "\n",
    "latin.py": "# \u00e9\ndef caf\u00e9(): pass\n".encode("latin-1"),
    "mac.py": "x = 1\rdef old_mac(): x\r",
    "picture.png": b"\x89PNG\0\0\0",
    "tests/test_money.py": "def test_restart_of_the_till_restarts_the_till(): pass\n",
}


def at(place: Place) -> str:
    return f"{place.path}:{place.line}"


@pytest.fixture
def index(git_repo: Make) -> Index:
    return Index(Repo.open(git_repo(FILES)))


def test_a_definition_is_found_by_its_bare_and_its_qualified_name(index: Index) -> None:
    (price,) = index.symbols("price_of")
    assert (price.kind, price.path, price.line) == ("function", "shop/money.py", 11)
    assert price.text == "def price_of(item: str, *, tax: bool=True) -> int"
    (method,) = index.symbols("count_takings")
    assert index.symbols("Till.count_takings") == [method]
    assert (method.kind, method.qualname) == ("method", "Till.count_takings")
    assert method.text.startswith("async def count_takings(")


def test_every_kind_of_definition_is_listed_in_the_order_of_the_file(index: Index) -> None:
    found = [(each.kind, each.qualname) for each in index.symbols(path="shop/money.py")]
    assert found == [
        ("import", ""),
        ("import", ""),
        ("variable", "RATE"),
        ("function", "price_of"),
        ("class", "Till"),
        ("method", "Till.count_takings"),
        ("function", "Till.count_takings.inner"),
    ]


def test_uses_are_calls_imports_and_attributes_with_the_definition_around_them(
    index: Index,
) -> None:
    found = [(at(place), place.qualname) for place in index.references("price_of")]
    assert found == [
        ("shop/desk.py:1", ""),
        ("shop/desk.py:5", "sell"),
        ("shop/money.py:25", "Till.count_takings.inner"),
    ]
    assert [place.line for place in index.references("Till.count_takings")] == [26]
    assert [at(place) for place in index.references("x")] == ["mac.py:2"]
    assert [place.text for place in index.references("money")] == [
        "from shop.money import price_of"
    ]


def test_imports_are_whole_statements(index: Index) -> None:
    found = [each for each in index.symbols(path="shop/money.py") if each.kind == "import"]
    texts = [(place.line, place.text) for place in found]
    assert texts == [(3, "import os"), (4, "from decimal import Decimal")]
    assert index.symbols(path="docs/guide.md") == index.symbols("os") == []


@pytest.mark.parametrize(
    ("words", "place", "qualname"),
    [
        ("restart the till", "docs/guide.md:5", "Restarting the till"),
        ("restarts", "docs/guide.md:5", "Restarting the till"),
        ("rates", "docs/guide.md:13", "Rates"),
        ("counts takings", "shop/money.py:23", "Till.count_takings"),
        ("countTakings", "shop/money.py:23", "Till.count_takings"),
        ("add up", "shop/money.py:1", ""),
        ("zebra crossing", "broken.py:1", ""),
        ("line 125, zebra", "notes.txt:121", ""),
        ("caf\u00e9", "latin.py:2", "caf\u00e9"),
        (
            "tests of restarts",
            "tests/test_money.py:1",
            "test_restart_of_the_till_restarts_the_till",
        ),
    ],
)
def test_a_search_finds_the_place(index: Index, words: str, place: str, qualname: str) -> None:
    found = index.search(words)
    assert (at(found[0]), found[0].qualname) == (place, qualname)
    assert found[0].score > 0 and len(found) <= 5


def test_a_name_weighs_more_than_a_mention(git_repo: Make) -> None:
    files = {
        "a.py": "def one():\n    swap = swap + swap * swap\n",
        "b.py": "def swap(it):\n    return it.c + it.d\n",
    }
    index = Index(Repo.open(git_repo(files | {"c.py": "def other():\n    pass\n"})))
    assert index.search("swap")[0].path == "b.py"


def test_only_a_changed_file_is_read_again(git_repo: Make) -> None:
    repo = Repo.open(git_repo({"a.py": "def one(): pass\n", "b.py": "def two(): pass\n"}))
    index = Index(repo)
    before = index.symbols()
    (repo.root / "a.py").write_text("def three(): pass\n")
    (repo.root / "c.py").write_text("def untracked(): pass\n")
    after = index.symbols()
    assert [each.name for each in after] == ["three", "two"]
    assert after[1] is before[1]
    (repo.root / "b.py").unlink()
    assert [each.name for each in index.symbols()] == ["three"]


def test_history_is_the_repositorys(index: Index) -> None:
    assert [commit.subject for commit in index.log()] == ["first commit"]
    assert index.log(5, "no.py") == []


def test_an_empty_repository_has_nothing_to_find(git_repo: Make) -> None:
    index = Index(Repo.open(git_repo({"empty.py": ""})))
    assert index.search("anything") == index.symbols() == index.references("x") == []


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text() | st.binary(), words=st.text())
def test_any_file_and_any_words_can_be_searched(
    git_repo: Make, tmp_path: Path, text: str | bytes, words: str
) -> None:
    root = tmp_path / "wild"
    if not root.exists():
        git_repo({"a.py": "", "b.md": ""}, name="wild")
    for name in ("a.py", "b.md"):
        data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
        (root / name).write_bytes(data)
    index = Index(Repo.open(root))
    assert all(place.line >= 1 and place.text for place in index.search(words))
    assert len(index.symbols()) >= 0
