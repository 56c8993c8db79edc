"""Mechanical edits: exact across a repository, as diffs that plain `git apply` takes. # J1 J13"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from patches.codemods import rewrite
from repo.files import Repo
from shapes import WorkbenchError

Make = Callable[..., Path]

SHOP = {
    "shop/__init__.py": 'from .money import price\nfrom .cart import Cart\n\n__all__ = ["price"]\n',
    "shop/money.py": (
        "def price(item: str, price_list: dict) -> int:\n"
        '    """The price of one item."""\n'
        "    return len(price_list) + 7\n\n\n"
        "def total(items: list, price=None) -> int:\n"
        "    return sum(price(item) for item in items)\n\n\n"
        "def both(items: list) -> int:\n"
        "    return sum(price(item, price_list={}) for item in items)\n"
    ),
    "shop/cart.py": (
        "from . import money\n"
        "from .money import price as cost, total\n"
        "import shop.money\n\n\n"
        "class Cart:\n"
        "    def pay(self, n: int) -> int:\n"
        "        return cost('a', {}) + money.price('b', {}) + shop.money.price('c', {})\n\n"
        "    def show(self) -> int:\n"
        "        return self.pay(1)\n\n\n"
        "class Big(Cart):\n"
        "    def pay(self, n: int) -> int:\n"
        "        return super().pay(n) * 2\n"
    ),
    "app.py": (
        "import shop\n"
        "from shop import (\n"
        "    Cart,\n"
        "    price,  # what it costs\n"
        ")\n"
        "from other import thing\n\n\n"
        "def main(cart: 'Cart') -> None:\n"
        "    print(price('x', {}), shop.price('y', {}), thing.price, 'price')\n"
        "    cart.pay(1)\n"
        "    Cart.pay(cart, 2)\n"
        "    for price_ in (price,):\n"
        "        print(dict(price=price)['price'] is price_)\n"
    ),
    "other.py": "class thing:\n    price = 3\n\n\nprice_tag = [price for price in range(3)]\n",
    "README.md": "The price is right.\n",
}


def everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("[!.]*.*")}


def applied(root: Path, diff: str) -> dict[str, bytes]:
    """The bytes of the files after plain git has taken the diff."""
    subprocess.run(["git", "apply", "-"], input=diff.encode(), cwd=root, check=True)
    for path in root.rglob("*.py"):
        compile(path.read_bytes(), str(path), "exec")
    return everything(root)


def after(git_repo: Make, source: str, kind: str, **arguments: str) -> str:
    """One file's text after an edit."""
    root = git_repo({"a.py": source})
    return applied(root, rewrite(Repo.open(root), kind, **arguments)[0])["a.py"].decode()


def output(root: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-B", "run.py"], cwd=root, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def test_a_function_is_renamed_at_every_use_and_nowhere_else(git_repo: Make) -> None:
    """And the program computes the same."""
    root = git_repo(SHOP | {"run.py": "import app, shop\napp.main(shop.Cart())\n"})
    printed = output(root)
    diff, remarks = rewrite(Repo.open(root), "rename", old="price", new="cost_of", path="shop")
    files = {path: text.decode() for path, text in applied(root, diff).items()}
    assert files["shop/__init__.py"] == SHOP["shop/__init__.py"].replace("price", "cost_of")
    money = SHOP["shop/money.py"].replace("def price(", "def cost_of(")
    money = money.replace("sum(price(item, price_list", "sum(cost_of(item, price_list")
    assert files["shop/money.py"] == money
    cart = SHOP["shop/cart.py"].replace("import price as", "import cost_of as")
    assert files["shop/cart.py"] == cart.replace("money.price", "money.cost_of")
    app = SHOP["app.py"].replace("    price,  #", "    cost_of,  #")
    app = app.replace("print(price('x', {}), shop.price", "print(cost_of('x', {}), shop.cost_of")
    app = app.replace("in (price,)", "in (cost_of,)").replace("(price=price)", "(price=cost_of)")
    assert files["app.py"] == app
    assert files["other.py"] == SHOP["other.py"]
    assert "README.md:1" in " ".join(remarks) and "app.py:10" in " ".join(remarks)
    assert output(root).replace("cost_of", "price") == printed


def test_a_method_is_renamed_on_its_class_and_on_itself(git_repo: Make) -> None:
    files = {
        "p/__init__.py": "from .bags import Bag as Sack\n",
        "p/bags.py": (
            "class Bag:\n    def fill(self, fill):\n        self.fill(fill)\n\n"
            "    @classmethod\n    def make(cls):\n        return cls.fill\n"
        ),
        "a.py": "import p\nfrom p import Sack\nfrom p import bags as b\n"
        "USES = p.Sack.fill, Sack.fill, b.Bag.fill\n",
    }
    root = git_repo(files)
    got = applied(root, rewrite(Repo.open(root), "rename", old="Bag.fill", new="put")[0])
    assert got["a.py"].decode() == files["a.py"].replace(".fill", ".put")
    expected = files["p/bags.py"].replace("def fill", "def put").replace(".fill", ".put")
    assert got["p/bags.py"].decode() == expected


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("class Bin:\n    def fill(self): pass\n\n\ndef use(bag):\n    bag.fill(1)\n", r"a\.py:11"),
        ("class Bin:\n    fill: int\n\n\ndef use(bag):\n    bag.fill(1)\n", r"a\.py:11"),
        ("def use(bag):\n    bag.fill = None\n", r"a\.py:7"),
    ],
)
def test_a_method_is_refused_where_other_things_may_be_meant(
    git_repo: Make, more: str, why: str
) -> None:
    """The uses that cannot be told are listed."""
    source = f"class Bag:\n    def fill(self, x):\n        self.fill(x)\n\n\n{more}"
    root = git_repo({"a.py": source})
    with pytest.raises(WorkbenchError, match=why):
        rewrite(Repo.open(root), "rename", old="Bag.fill", new="put")


def test_a_method_that_nothing_else_is_called_like_is_renamed_on_objects_and_told(
    git_repo: Make,
) -> None:
    source = (
        "class Bag:\n    def fill_up(self): pass\n\n\nclass Big(Bag):\n"
        "    def more(self):\n        self.fill_up()\n\n\ndef use(bag):\n    bag.fill_up()\n"
    )
    root = git_repo({"a.py": source})
    diff, remarks = rewrite(Repo.open(root), "rename", old="fill_up", new="put")
    assert applied(root, (diff))["a.py"].decode() == source.replace("fill_up", "put")
    assert any("class: a.py:11:9." in remark for remark in remarks)


def test_a_class_is_renamed_in_annotations_bases_and_lists_of_names(git_repo: Make) -> None:
    source = (
        '__all__ = ["Node"]\n__all__ += ["Node", "Leaf"]\n\n\n'
        "class Node:\n    left: int\n\n\ndef make(Node_: list[Node]) -> Node:\n"
        "    match make(Node):\n        case Node(kind=1):\n            return [Node()]\n\n\n"
        "class Leaf(Node):\n    pass\n"
    )
    root = git_repo({"a.py": source})
    for old, new in (("Node", "Twig"), ("Twig", "Node")):
        got = applied(root, rewrite(Repo.open(root), "rename", old=old, new=new)[0])
        assert got["a.py"].decode() == re.sub(r"\bNode\b", new, source)


def test_keywords_and_modules_of_the_same_name_stay(git_repo: Make) -> None:
    files = {
        "kind.py": "def kind(): pass\n",
        "a.py": "from kind import kind\nimport kind as k\n\n\ndef f(x):\n    match x:\n"
        "        case f(kind=1):\n            return {kind: dict(kind=kind)}\n    return k.kind\n",
        "b.py": "from c import kind as f\nfrom kind.kind import other\n",
        "c.py": "from kind import kind as new\nfrom a import kind as new\n",
    }
    root = git_repo(files)
    got = applied(root, rewrite(Repo.open(root), "rename", old="kind", new="sort_of")[0])
    assert got["a.py"].decode() == files["a.py"].replace(
        "import kind\n", "import sort_of\n"
    ).replace("{kind: dict(kind=kind)}", "{sort_of: dict(kind=sort_of)}").replace(
        "k.kind", "k.sort_of"
    )
    assert got["b.py"].decode() == files["b.py"]
    assert got["c.py"].decode() == files["c.py"].replace("import kind", "import sort_of")


def test_a_name_that_is_bound_anew_is_renamed_only_until_then(git_repo: Make) -> None:
    files = {
        "a.py": "def f(): pass\nif f():\n    f = None\nf\n",
        "b.py": "def f(): pass\n",
        "c.py": "from a import f\nf()\nfrom b import f\nf()\n",
        "d.py": "from a import f\nf()\ndef f(): pass\nf()\n",
    }
    root = git_repo(files)
    diff, _ = rewrite(Repo.open(root), "rename", old="f", new="g", path="a.py")
    got = applied(root, diff)
    assert got["c.py"].decode() == "from a import g\ng()\nfrom b import f\nf()\n"
    assert got["a.py"].decode() == files["a.py"].replace("f()", "g()").replace(
        "f = ", "g = "
    ).replace("\nf\n", "\ng\n")
    assert got["d.py"].decode() == "from a import g\ng()\ndef f(): pass\nf()\n"


@pytest.mark.parametrize(
    ("source", "old", "new", "words"),
    [
        ("def f(): pass\n", "f", "class", "cannot be"),
        ("def f(): pass\ng = 1\n", "f", "g", "already used in a.py"),
        ("class A:\n    def f(self): pass\nclass B:\n    def f(self): pass\n", "f", "g", "2 def"),
        ("class A:\n    f: int = 1\n", "f", "g", "No definition"),
        ("def f(): pass\ndef g_():\n    global f\n    f = 1\n", "f", "g", "several things"),
        ("def f(): pass\ndef h(x):\n match x:\n  case [f]: f()\n", "f", "g", "several things"),
        (
            "try:\n    from fast import f\nexcept ImportError:\n    def f(): pass\nf()\n",
            "f",
            "g",
            "several things",
        ),
    ],
)
def test_a_rename_that_cannot_be_exact_is_refused_with_the_reason(
    git_repo: Make, source: str, old: str, new: str, words: str
) -> None:
    repo = Repo.open(git_repo({"a.py": source}))
    with pytest.raises(WorkbenchError, match=words):
        rewrite(repo, "rename", old=old, new=new)


def test_re_exports_follow_and_a_definition_of_the_same_name_does_not(git_repo: Make) -> None:
    files = {
        "a.py": "def f(): pass\n",
        "b.py": "def f(): pass\nf()\n",
        "c.py": "from a import f as f\nf()\n",
        "d.py": "from c import f\nimport c\nfrom b import f as other\nf(), c.f(), other()\n",
    }
    diff, _ = rewrite(Repo.open(git_repo(files)), "rename", old="f", new="g", path="a.py")
    after_files = applied(git_repo(files, name="other"), diff)
    assert after_files["b.py"].decode() == files["b.py"]
    assert after_files["c.py"] == b"from a import g as g\ng()\n"
    d = b"from c import g\nimport c\nfrom b import f as other\ng(), c.g(), other()\n"
    assert after_files["d.py"] == d


def test_a_qualified_name_or_a_file_chooses_among_several(git_repo: Make) -> None:
    files = {
        "a.py": "class A:\n    def f(self): return self.f()\n",
        "b.py": "def f(): return f()\n",
    }
    root = git_repo(files)
    diff, _ = rewrite(Repo.open(root), "rename", old="A.f", new="g")
    assert applied(root, diff)["a.py"].decode() == re.sub(r"\bf\(", "g(", files["a.py"])
    diff, _ = rewrite(Repo.open(root), "rename", old="f", new="h", path="b.py")
    assert applied(root, diff)["b.py"] == b"def h(): return h()\n"


@pytest.mark.parametrize(
    "bytes_",
    [
        b"\xef\xbb\xbfdef old():\n    return old",
        "# -*- coding: latin-1 -*-\n# \u00e9\u00fc\ndef old(): return '\u00e9', old\n".encode(
            "latin-1"
        ),
        b"def old():\r\n\treturn (  old\r\n\t)\r\n# no end",
    ],
)
def test_all_other_bytes_stay(git_repo: Make, bytes_: bytes) -> None:
    repo = Repo.open(git_repo({"a.py": bytes_}))
    encoding = repo.text("a.py").encoding
    diff, _ = rewrite(repo, "rename", old="old", new="fresh")
    subprocess.run(["git", "apply", "-"], input=diff.encode(encoding), cwd=repo.root, check=True)
    assert (repo.root / "a.py").read_bytes() == bytes_.replace(b"old", b"fresh")


TIDIED = {
    "unused_imports": {
        "import os, sys\nprint(sys)\n": "import sys\nprint(sys)\n",
        "import os  # noqa\n": None,
        "from __future__ import annotations\n": None,
        "import os\r\nimport sys\r\nsys\r\n": "import sys\r\nsys\r\n",
        "from a import b\n__all__ = ['b']\n": None,
        "from a import b\nx: 'b' = 1\n": None,
        "try:\n    import fast\nexcept ImportError:\n    fast = None\n": None,
        "from q.a import b, c\nb()\n": "from q.a import b\nb()\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a import B\nx: 'B'\n": None,
    },
    "fstrings": {
        "x = '{} {}'.format(a, b.c)\n": "x = f'{a} {b.c}'\n",
        "x = '{x:>4} {y!r}'.format(x=a, y=b)\n": "x = f'{a:>4} {b!r}'\n",
        "x = '{0} {0}'.format(a)\n": "x = f'{a} {a}'\n",
        "x = '{0} {0}'.format(a())\n": None,
        "x = '{}'.format(*a)\n": None,
        "x = '%s' % a\n": None,
        "x = '{'.format(a)\n": None,
    },
    "unions": {
        "import typing as t\nx: dict[str, t.Union[int, a.B, None]]\n": (
            "import typing as t\nx: dict[str, int | a.B | None]\n"
        ),
        "from typing import Union\nx: Union['X', int]\n": None,
        "from mine import Union\nx: Union[int, str]\n": None,
    },
}


@pytest.mark.parametrize("kind", TIDIED)
def test_only_what_stays_the_same_is_tidied(git_repo: Make, kind: str) -> None:
    """The repository's own settings do not steer it; what a package hands on stays."""
    files = {f"a{number}.py": source for number, source in enumerate(TIDIED[kind])}
    steer = '[tool.ruff]\nexclude = ["a0.py"]\n[tool.ruff.lint]\nignore = ["F401"]\n'
    files |= {"p/__init__.py": "from p.a import b\n", "pyproject.toml": steer}
    root = git_repo(files | {"ruff.toml": "= broken"})
    diff, remarks = rewrite(Repo.open(root), kind)
    got = {path: text.decode() for path, text in applied(root, diff).items()}
    for path, wanted in zip(files, TIDIED[kind].values(), strict=False):
        assert got[path] == (wanted or files[path])
    assert got["p/__init__.py"] == files["p/__init__.py"] and remarks == []
    assert not (root / ".ruff_cache").exists()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(): return 1\n", 'def f():\n    """T."""\n    return 1\n'),
        ("def f():\n    'old'\n    return 1\n", 'def f():\n    """T."""\n    return 1\n'),
        (
            "class f:\r\n\t@x\r\n\tdef g(self): ...\r\n",
            'class f:\r\n\t"""T."""\r\n\t@x\r\n\tdef g(self): ...\r\n',
        ),
        (
            "if 1:\n  def f():\n    # why\n    é = 1; x = 2\n",
            'if 1:\n  def f():\n    # why\n    """T."""\n    é = 1; x = 2\n',
        ),
    ],
)
def test_a_docstring_is_added_or_replaced(git_repo: Make, source: str, expected: str) -> None:
    assert after(git_repo, source, "docstring", name="f", text="T.") == expected


@pytest.mark.parametrize("text", ['a """ b \\slash "hi"', "word " * 60])
def test_any_words_can_be_a_docstring(git_repo: Make, text: str) -> None:
    source = after(git_repo, "def f():\n    pass\n", "docstring", name="f", text=text.strip())
    space: dict = {}
    exec(source, space)
    assert " ".join(space["f"].__doc__.split()) == text.strip()
    assert max(map(len, source.split("\n"))) <= 100


def test_a_file_that_does_not_parse_is_left_alone_and_named(git_repo: Make) -> None:
    deep = "x = " + "(" * 3000 + ")" * 3000 + "\nold = 1\n"
    files = {"a.py": "def old(): pass\n", "bad.py": "old = = 1\n", "deep.py": deep}
    root = git_repo(files)
    diff, remarks = rewrite(Repo.open(root), "rename", old="old", new="fresh", path="a.py")
    assert "def fresh" in diff and "bad.py" in " ".join(remarks) and "deep.py" in " ".join(remarks)


def test_an_edit_of_this_program_reaches_every_use(tmp_path: Path) -> None:
    """`plural` of shapes.py, used all over. # J1 J13"""
    here = Path(__file__).parent.parent
    root = tmp_path / "self"
    for path in [*here.glob("*.py"), *here.glob("[a-z]*/*.py")]:
        if "node_modules" not in path.parts:
            copy = root / path.relative_to(here)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    subprocess.run(["git", "init", "-q", "."], cwd=root, check=True)
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    users = [
        path
        for path in root.rglob("*.py")
        if b"import" in path.read_bytes() and b"plural(" in path.read_bytes()
    ]
    diff, _ = rewrite(Repo.open(root), "rename", old="plural", new="count_of", path="shapes.py")
    assert diff.count("diff --git") >= len([p for p in users if "tests" not in p.parts]) > 1
    files = applied(root, diff)
    left = [
        path
        for path, text in files.items()
        if b"plural(" in text and path.endswith(".py") and "tests/" not in path
    ]
    assert left == []


def test_asking_for_an_edit_loads_no_jedi_here() -> None:
    code = "import sys, patches.codemods; sys.exit('jedi' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent).returncode
        == 0
    )


def test_a_star_import_and_a_source_folder_are_followed(git_repo: Make) -> None:
    files = {
        "src/p/__init__.py": "",
        "src/p/a.py": "def tea(): return f'{tea}'\n",
        "b.py": "from p.a import *\n\n__all__ = ['tea']\ntea()\x0c\n\x0cx = 1\n",
    }
    root = git_repo(files)
    got = applied(root, rewrite(Repo.open(root), "rename", old="tea", new="coffee")[0])
    for path in ("src/p/a.py", "b.py"):
        assert got[path].decode() == files[path].replace("tea", "coffee")


def test_a_method_goes_with_its_overrides_and_not_without_them(git_repo: Make) -> None:
    source = (
        "class Bag:\n    def fill(self): pass\n\n\n"
        "class Big(Bag):\n    def fill(self):\n        super().fill()\n"
    )
    root = git_repo({"a.py": source})
    with pytest.raises(WorkbenchError, match="own to rename"):
        rewrite(Repo.open(root), "rename", old="Big.fill", new="put")
    got = applied(root, rewrite(Repo.open(root), "rename", old="Bag.fill", new="put")[0])
    assert got["a.py"].decode() == source.replace("fill", "put")


def test_no_code_of_the_repository_runs_and_nothing_is_written(
    git_repo: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    evil = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    root = git_repo({"evil.py": evil, "a.py": "import evil\ndef old(x): return evil.x(x).old\n"})
    before = sorted(root.rglob("[!.]*"))
    assert rewrite(Repo.open(root), "rename", old="old", new="fresh")[0]
    assert sorted(root.rglob("[!.]*")) == before
    assert not (tmp_path / "ran").exists() and not (tmp_path / "cache").exists()
