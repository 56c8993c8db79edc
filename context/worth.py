"""How much each unit of a repository is worth to a question, and why.

Knows nothing of budgets or forms. Invariant: the same repository and question give the same worth
in every process. Words decide; history and kinds of files break ties.
"""

import math
import re
from collections import Counter
from collections.abc import Hashable, Mapping

from repo import TEST, Repo, Source, terms
from shapes import Commit

# What a signal adds at its strongest, fitted by benchmarks/packing.py; the last three multiply.
WEIGHTS = {
    "words": 1.0,
    "file": 0.07,  # all its words together
    "function": 0.05,
    "alike": 0.2,  # commits with such a subject changed its file
    "changed": 0.1,
    "readme": 9.0,  # without a question
    "first": 0.1,  # of a file's best, for its imports
    "test": 0.8,
    "prose": 0.15,
    "other": 0.25,
}
COMMITS, HALF_LIFE_COMMITS = 500, 30
NAME, PATH, TEXT = 3, 2, 1  # what a word weighs there
STEM = 6  # letters
SHORT_CHARS, LENGTH_POWER = 80, 0.1  # long units pay a little for their length
PROSE = (".md", ".rst", ".txt")
REQUEST = re.compile(  # what stands in every question
    r"(?i)\b(add|all|allow|an|as|be|by|change|fix|from|if|make|more|new|not|only|or|remove|should"
    r"|so|support|that|this|update|use|using|with)\b"
)
Scores = Mapping[Hashable, float]


class Worth:
    """`scores` of units, the greater the better, and the reasons."""

    def __init__(self, repo: Repo, sources: Mapping[str, Source], question: str) -> None:
        plain = REQUEST.sub("", question).strip() or question
        self.sources, self.question, self.asked = sources, question, terms(plain)
        words, files = repo.index.scores(plain, NAME, PATH, TEXT), Counter()
        for unit, score in words.items():
            files[unit.path] += score
        units = [unit for source in sources.values() for unit in source.units]
        readme = () if question else (it for it in sources if it.lower().startswith("readme"))
        self.signals: dict[str, Scores] = {
            "words": _best(words),
            "file": _best(files),
            "function": {unit: 1 for unit in units if unit.is_function},
            "readme": dict.fromkeys(readme, 1),
            **_history(repo.log(COMMITS), plain),
        }
        kinds = {path: _kind(path, question) for path in sources}
        signals = [(WEIGHTS[name], got) for name, got in self.signals.items()]
        self.scores = {
            unit: kinds[unit.path]
            * sum(weight * (got.get(unit) or got.get(unit.path, 0)) for weight, got in signals)
            for unit in units
        }
        for source in sources.values():
            if source.units:
                most = max(self.scores[unit] for unit in source.units)
                self.scores[source.units[0]] += WEIGHTS["first"] * most
        for unit in units:
            self.scores[unit] /= (len(unit.text) + SHORT_CHARS) ** LENGTH_POWER

    def why(self, path: str) -> str:
        """The reasons for showing something of a file, the strongest first."""
        text = self.sources[path].text.lower()
        words = [it for it in re.findall(r"\w+", self.question.lower()) if it in self.asked]
        words = [it for it in dict.fromkeys(words) if it in text]
        told = {
            "named in the question": path.rpartition("/")[2] in self.question,
            f"words: {', '.join(words[:4])}": words,
            "changed with such subjects": self.signals["alike"].get(path),
            "changed lately": self.signals["changed"].get(path, 0) > 0.1,
            "tells what it is about": path in self.signals["readme"],
        }
        return "; ".join([it for it, is_true in told.items() if is_true][:2]) or "there was room"


def _best(scores: Scores) -> Scores:
    """Scaled so that the best is 1."""
    most = max(scores.values(), default=0) or 1
    return {key: score / most for key, score in scores.items()}


def _history(commits: list[Commit], question: str) -> dict[str, Scores]:
    texts = [question, *(commit.subject for commit in commits)]
    asked, *told = [{term[:STEM] for term in terms(text)} for text in texts]
    common = Counter(term for said in told for term in said & asked)
    changed, alike = Counter(), Counter()
    for age, (commit, said) in enumerate(zip(commits, told)):
        like = sum(math.log(1 + len(told) / common[term]) for term in sorted(said & asked))
        for path in commit.paths:
            changed[path] += 0.5 ** (age / HALF_LIFE_COMMITS)
            alike[path] += like / len(said) / len(commit.paths) if like else 0
    return {"changed": _best(changed), "alike": _best(alike)}


def _kind(path: str, question: str) -> float:
    low = path.lower()
    if TEST.search(low) and not re.search("(?i)test|bench", question):
        return WEIGHTS["test"] if question else 0.01
    if low.endswith(PROSE):
        return WEIGHTS["prose"]
    return 1 if low.endswith(".py") else WEIGHTS["other"]


def is_program(path: str) -> bool:
    return not TEST.search(path.lower()) and not path.lower().endswith(PROSE)
