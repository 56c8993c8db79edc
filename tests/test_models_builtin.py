"""The built-in engine: answers about a repository and exact edits, with no model. # A12 J3 L1 L7"""

import asyncio
import re
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.builtin import BuiltIn
from patches.codemods import rewrite
from repo.files import Repo
from repo.symbols import Index
from shapes import Finish, Message, Piece, Prompt

Make = Callable[..., Path]

FILES = {
    "README.md": "# Shop\n\n## Adding a shelf\n\nCall `add_shelf` with its width.\n",
    "shop/__init__.py": '"""A small shop."""\n\nfrom shop.money import price_of\n',
    "shop/money.py": (
        '"""What things cost."""\n\nimport json\n\nRATE = 3\n\n\n'
        "def price_of(item: str) -> int:\n"
        '    """The price of one item."""\n'
        "    return RATE * len(item)\n"
    ),
    "shop/shelves.py": (
        "from shop.money import price_of\n\n\n"
        "class Shelf:\n"
        '    """Holds things; restocks itself."""\n\n'
        "    def fill(self) -> str:\n"
        "        return price_of('tea') or '{}'.format(self)\n\n\n"
        "def add_shelf(width: int) -> Shelf:\n"
        '    """Put up a shelf: ```` marks it."""\n'
        "    return Shelf()\n"
    ),
}


def engine(root: Path) -> BuiltIn:
    repo = Repo.open(root)
    return BuiltIn(Index(repo), partial(rewrite, repo), "Chip O'Theseus")


@pytest.fixture
def built_in(git_repo: Make) -> BuiltIn:
    return engine(git_repo(FILES))


def ask(built_in: BuiltIn, question: str) -> tuple[str, Finish]:
    """The whole reply and its Finish, as a chat gets them."""

    async def collect() -> list[Piece | Finish]:
        messages = (Message("user", "hello"), Message("assistant", "hi"), Message("user", question))
        return [each async for each in built_in.stream(Prompt(messages, 0, 0, 0))]

    *pieces, finish = asyncio.run(collect())
    assert all(isinstance(piece, Piece) and piece.kind == "text" for piece in pieces)
    assert isinstance(finish, Finish) and finish.reason == "stop"
    return "".join(piece.text for piece in pieces), finish


@pytest.mark.parametrize(
    ("questions", "source", "words"),
    [
        (
            "where is price_of?|Where is `price_of` defined?|where's the function price_of()|"
            "please find price_of|which file defines price_of|PRICE_OF|"
            "show me shop.money.price_of|Can you tell me where price_of is?",
            "shop/money.py:8",
            "def price_of(item: str) -> int:",
        ),
        (
            "what is Shelf?|what does the class Shelf do|explain shelf|describe 'Shelf'.|"
            "What's a Shelf for?|how does Shelf work?|tell me about Shelf",
            "shop/shelves.py:4",
            "Holds things; restocks itself.",
        ),
        (
            "who calls price_of?|callers of price_of|where is price_of used?|Who uses `price_of`|"
            "find all references to price_of|which functions call price_of()?",
            "shop/shelves.py:8",
            "Shelf.fill",
        ),
        (
            "what is in shop/money.py?|outline of money.py|what's in the file `money.py`|"
            "what does shop/money.py contain?",
            "shop/money.py:1",
            "def price_of(item: str) -> int",
        ),
        (
            "what does shop/money.py import?|please tell me what does money.py import",
            "shop/money.py:3",
            "import json",
        ),
        (
            "who imports shop/money.py?|which files import shop/money.py|where is money imported?",
            "shop/shelves.py:1",
            "from shop.money import price_of",
        ),
        (
            "what changed lately?|what has changed?|recent changes|show me the latest commits|"
            "what changed in shop/money.py|history of money.py",
            "shop/money.py:1",
            "first commit",
        ),
        (
            "how do I add a shelf?|how can I add shelves|what is the best way to add a shelf?|"
            "Could you please tell me how shelves are added?",
            "README.md:3",
            "Call `add_shelf`",
        ),
        (
            "which file restocks things?|what restocks the things?|where are things restocked?",
            "shop/shelves.py:4",
            "restocks itself",
        ),
    ],
)
def test_a_question_is_answered_from_the_source_however_it_is_put(
    built_in: BuiltIn, questions: str, source: str, words: str
) -> None:
    for question in questions.split("|"):
        text, finish = ask(built_in, question)
        assert source in finish.sources and words in text, question
        assert source in text
        assert "no" in text.rsplit("\n*", 1)[1] and "language model" in text.rsplit("\n*", 1)[1]


def test_greetings_and_questions_of_ability_get_the_name_and_a_list(built_in: BuiltIn) -> None:
    for question in ("hello", "Hi there!", "help", "what can you do?", "What is your name?"):
        text, _ = ask(built_in, question)
        assert "Chip O'Theseus" in text and "rename the function OLD to NEW" in text


def test_near_names_are_offered_for_a_wrong_one(built_in: BuiltIn) -> None:
    for question in ("where is price_off?", "what is prize_of"):
        text, _ = ask(built_in, question)
        assert "`price_of`" in text and "```diff" not in text
    text, _ = ask(built_in, "history of shop/monny.py")
    assert "shop/money.py" in text


def test_the_uses_of_a_file_are_imports_and_those_of_a_foreign_name_are_found(
    built_in: BuiltIn,
) -> None:
    text, finish = ask(built_in, "what is in shop/money.py?")
    assert "is used in 2 places" in text and "shop/__init__.py:3" in finish.sources
    text, finish = ask(built_in, "who calls len?")
    assert finish.sources == ("shop/money.py:10",)


def test_which_file_names_code_before_prose(built_in: BuiltIn) -> None:
    _, finish = ask(built_in, "which file calls add_shelf with its width?")
    assert finish.sources[0].startswith("shop/") and "README.md:3" in finish.sources


def test_a_sentence_is_no_name(built_in: BuiltIn) -> None:
    for question in ("what is the best shelf in town", "where is everything that costs money"):
        text, _ = ask(built_in, question)
        assert "Did you mean" not in text and "best matches" in text


def test_what_it_cannot_answer_gets_places_and_what_it_can_do(built_in: BuiltIn) -> None:
    text, finish = ask(built_in, "Improve the pricing of tea, would you?")
    assert "shop/shelves.py:7" in finish.sources and "rename the function OLD to NEW" in text
    text, finish = ask(built_in, "zzz qqq")
    assert finish.sources == () and "Nothing in this repository" in text


@pytest.mark.parametrize(
    ("question", "title", "added"),
    [
        ("rename the function price_of to cost_of", "in 3 files", "+def cost_of(item"),
        ("Please rename `Shelf` to `Rack` in shop/shelves.py.", "in 1 file", "+class Rack"),
        ("rename method fill to stock", "in 1 file", "+    def stock(self)"),
        ("remove unused imports", "in 1 file", "-import json"),
        ("delete all the unused imports in money.py!", "in 1 file", "-import json"),
        ("convert format strings to f-strings in shop/shelves.py", "in 1 file", "{self}"),
        (
            "add a docstring to Shelf.fill: Fill it, with 'care'.",
            "in 1 file",
            '+        """Fill it, with \'care\'."""',
        ),
        ("replace the docstring of price_of with What it costs.", "in 1 file", "What it costs."),
    ],
)
def test_an_edit_comes_as_a_diff_that_git_takes(
    built_in: BuiltIn, git_repo: Make, question: str, title: str, added: str
) -> None:
    """# J1 J13"""
    text, finish = ask(built_in, question)
    assert title in text and added in text and finish.sources
    fenced = re.search(r"^(`{3,})diff\n(.*?)^\1$", text, re.M | re.S)
    root = git_repo(FILES, name="fresh")
    subprocess.run(["git", "apply", "-"], input=fenced[2].encode(), cwd=root, check=True)


def test_a_fence_is_longer_than_any_fence_in_the_diff(built_in: BuiltIn) -> None:
    text, _ = ask(built_in, "rename add_shelf to put_up")
    assert "\n`````diff\n" in text and "README.md:5" in text


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("rename price_of to class", "cannot be"),
        ("rename price_of to RATE", "already used"),
        ("rename price_of to cost in nowhere.py", "no `nowhere.py` here"),
        ("rename nothing_like_it to cost", "nothing_like_it"),
        ("remove unused imports in shop/shelves.py", "nothing to change"),
        ("add a docstring to nothing_like_it: Hm.", "nothing_like_it"),
        ("use X | Y types", "nothing to change"),
    ],
)
def test_an_edit_that_cannot_be_made_is_refused_in_plain_words(
    built_in: BuiltIn, question: str, words: str
) -> None:
    text, _ = ask(built_in, question)
    assert words in text and "```diff" not in text and "Traceback" not in text


NAMES = st.sampled_from(["price_of", "`Shelf`", "shop/money.py", "x" * 3000, "((((", "\\", "a.b.c"])
FRAMES = ["{}", "where is {}?", "rename {} to {}", "what is in {}", "list {} in {}", "how do I {}"]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(FRAMES), st.text(max_size=60) | NAMES, st.text(max_size=20) | NAMES)
def test_any_text_gets_an_answer_of_bounded_size(
    built_in: BuiltIn, frame: str, first: str, second: str
) -> None:
    text, _ = ask(built_in, frame.format(first, second))
    assert len(text) < 40_000


def test_no_question_keeps_it_busy(built_in: BuiltIn) -> None:
    start = time.process_time()
    for part in ("please, ", "rename a to ", "use X | Y ", "the the ", "where is ", "a/", "`"):
        ask(built_in, part * 4000)
    assert time.process_time() - start < 20  # a pattern that backtracks takes hours


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("which file restarts the server?", "supervisor/__init__.py"),
        ("which file counts tokens?", "context/packing.py"),
        ("what reads the git history?", "repo/files.py"),
        ("what undoes the newest change?", "patches/apply.py"),
        ("which file answers without a language model?", "models/builtin.py"),
        ("where are identifiers split and stemmed?", "repo/symbols.py"),
    ],
)
def test_it_knows_the_program_that_it_is_part_of(tmp_path: Path, question: str, path: str) -> None:
    """# A12"""
    here = Path(__file__).parent.parent
    for source in [*here.glob("*.py"), *here.glob("[a-z]*/*.py"), *here.glob("context/*.md")]:
        copy = tmp_path / source.relative_to(here)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    _, finish = ask(engine(tmp_path), question)
    best = [source.partition(":")[0] for source in finish.sources[:3]]
    assert path in best[:1] if path.startswith("supervisor/") else path in best


def test_tests_and_benchmarks_come_after_the_application_unless_asked_for(git_repo: Make) -> None:
    code = "def start_engine():\n    return 'vroom'\n"
    names = ("benchmarks/engine.py", "core/engine.py", "tests/test_engine.py")
    root = git_repo(dict.fromkeys(names, code))
    _, finish = ask(engine(root), "which file starts the engine?")
    assert finish.sources[0] == "core/engine.py:1"
    _, finish = ask(engine(root), "which test starts the engine?")
    assert finish.sources[0] == "tests/test_engine.py:1"
