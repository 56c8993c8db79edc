"""How much each unit of a repository is worth to a question, and why.

Knows nothing of budgets or forms. Invariant: the same repository and question give the same worth
in every process. Words decide; history and kinds of files break ties.
"""

import math
import re
from collections import Counter
from collections.abc import Hashable, Mapping

from repo import Repo, Source, terms
from shapes import Commit

# What a signal adds at its strongest, fitted by benchmarks/packing.py; the last four multiply.
WEIGHTS = {
    "words": 1.0,
    "name": 0.1,
    "file": 0.07,
    "function": 0.05,
    "alike": 0.1,  # commits with such a subject changed its file
    "changed": 0.05,
    "central": 1.0,  # without a question: how many files import it
    "readme": 9.0,
    "first": 0.1,  # of a file's best, for its imports
    "test": 0.8,
    "prose": 0.15,
    "other": 0.25,
}
COMMITS, HALF_LIFE_COMMITS = 500, 30
PHRASES = {
    "alike": "changed with such subjects",
    "changed": "changed lately",
    "central": "imported by others",
    "readme": "tells what it is about",
}
TEST = re.compile(r"(^|[/_.])(tests?|testing|conftest|bench\w*|examples?)[/_.]")
IMPORT = re.compile(r"^\s*(?:from|import)\s+([\w.]+)", re.M)
Scores = Mapping[Hashable, float]


class Worth:
    """`scores` of units, the greater the better, and the reasons."""

    def __init__(self, repo: Repo, sources: Mapping[str, Source], question: str) -> None:
        self.terms = terms(question) if question else set()
        self.sources, self.question = sources, question
        units = [unit for source in sources.values() for unit in source.units]
        words = _best(repo.index.scores(question, 3, 2, 1))
        names = _best(repo.index.scores(question, 1, 0, 0))
        files = Counter()
        for unit, score in words.items():
            files[unit.path] += score
        self.signals = {
            "file": _best(files),
            **_history(repo.log(COMMITS), question),
            **({} if question else _about(sources)),
        }
        kinds = {path: _kind(path, question) for path in sources}
        by_file = {
            path: sum(WEIGHTS[it] * got.get(path, 0) for it, got in self.signals.items())
            for path in sources
        }
        self.scores = {
            unit: kinds[unit.path]
            * (
                by_file[unit.path]
                + WEIGHTS["words"] * words.get(unit, 0)
                + WEIGHTS["name"] * names.get(unit, 0)
                + WEIGHTS["function"] * (unit.is_function)
            )
            for unit in units
        }
        for source in sources.values():
            if source.units:
                most = max(self.scores[unit] for unit in source.units)
                self.scores[source.units[0]] += WEIGHTS["first"] * most

    def why(self, path: str) -> str:
        """The strongest reasons for showing something of a file."""
        low = f"{path} {self.sources[path].text}".lower()
        asked = dict.fromkeys(re.findall(r"\w+", self.question.lower()))
        words = [it for it in asked if it in self.terms and re.search(rf"\b{it}", low)]
        gains = {it: WEIGHTS[it] * got.get(path, 0) for it, got in self.signals.items()}
        reasons = ["named in the question"] * (path.rpartition("/")[2] in self.question)
        reasons += [f"words: {', '.join(words[:4])}"] * bool(words)
        strong = sorted((it for it in PHRASES if gains.get(it, 0) > 0.01), key=gains.get)
        return (
            "; ".join([*reasons, *(PHRASES[it] for it in reversed(strong))][:2]) or "there was room"
        )


def _best(scores: Scores) -> Scores:
    """Scaled so that the best is 1."""
    most = max(scores.values(), default=0) or 1
    return {key: score / most for key, score in scores.items()}


def _stems(text: str) -> set[str]:
    return {word[:6] for word in re.findall(r"#?\w+", text.lower()) if len(word) > 2}


def _history(commits: list[Commit], question: str) -> dict[str, Scores]:
    asked = _stems(" ".join([*terms(question), *re.findall(r"#\d+", question)]))
    told = [asked & _stems(commit.subject) for commit in commits]
    common = Counter(term for said in told for term in said)
    changed, alike = Counter(), Counter()
    for age, (commit, said) in enumerate(zip(commits, told, strict=True)):
        like = sum(math.log(1 + len(commits) / common[term]) for term in sorted(said))
        for path in commit.paths:
            changed[path] += 0.5 ** (age / HALF_LIFE_COMMITS)
            alike[path] += like / (1 + len(commit.subject.split())) / len(commit.paths)
    return {"changed": _best(changed), "alike": _best(alike)}


def _about(sources: Mapping[str, Source]) -> dict[str, Scores]:
    """What tells a newcomer what the repository is."""
    homes = {re.sub(r"(/__init__)?\.\w+$", "", path).replace("/", "."): path for path in sources}
    used = Counter()
    for source in sources.values():
        for name in IMPORT.findall(source.units[0].text) if source.units else ():
            used[homes.get(name)] += 1
    used.pop(None, 0)
    readme = {path: 1 for path in sources if path.lower().startswith("readme")}
    return {"central": _best(used), "readme": readme}


def _kind(path: str, question: str) -> float:
    low = path.lower()
    if TEST.search(low):
        asked = re.search("(?i)test|bench", question)
        return 1 if asked else WEIGHTS["test"] if question else 0.01
    if low.endswith((".md", ".rst", ".txt")):
        return WEIGHTS["prose"]
    return 1 if low.endswith(".py") else WEIGHTS["other"]
