"""How much of each prompt a model server need not read again, while a repository changes.

For each repository, given as a work tree or a bare clone: one discussion with the real chat and a
scripted Ollama, over the newest commits of its first parents, each checked out in a temporary clone
and asked about by its subject; then one more question without a change. A prompt's share is that of
its tokens which are, from its beginning, the same as in the prompt before. The peers, in the same
run, pack everything anew at each commit, by path and least recently changed first, with the same
talk after it. "more" is how many more tokens all prompts had than those with a fresh pack.

    python -m benchmarks.prompt_cache REPOSITORY ... [--commits 20] [--shares 0.25 ...]
"""

import argparse
import asyncio
import statistics
import tempfile
from itertools import pairwise
from pathlib import Path

from chat import Chat, Choice, Discussions, briefing
from context import count, later
from models import BuiltIn, Ollama
from repo import Repo
from state import State
from tests.conftest import run_git
from tests.ollama_server import OllamaServer

ANSWER = "It does what its subject says. " * 8


def share(before: str, now: str) -> float:
    """Of the tokens of `now`, those of the beginning that it has in common with `before`."""
    ends = (at for at, (one, other) in enumerate(zip(before, now)) if one != other)
    return count(now[: next(ends, min(len(before), len(now)))]) / count(now)


def row(name: str, prompts: list[str], fresh: int, note: str = "") -> None:
    shares = [100 * share(*pair) for pair in pairwise(prompts)]
    tokens = sum(map(count, prompts))
    mean, median = statistics.mean(shares), statistics.median(shares)
    more = 100 * (tokens / fresh - 1)
    print(f"{name:28} {mean:6.1f} {median:7.1f} {min(shares):6.1f} {more:+7.1f} %  {note}")


async def ask(chat: Chat, discussion: int, text: str) -> None:
    chat.say(discussion, text)
    while chat.busy():
        await asyncio.sleep(0)
    assert chat.discussions.messages(discussion)[-1]["status"] == "done"


def anew(repo: Repo, by_path: bool) -> str:
    """All that may be shown, in an order."""
    texts = later.snapshot(repo)
    commits = repo.log(100_000)
    last = {path: age for age, commit in reversed([*enumerate(commits)]) for path in commit.paths}
    order = sorted(texts, key=lambda path: (0 if by_path else -last.get(path, 0), path))
    return "".join(f"===== {path} =====\n{texts[path]}\n" for path in order if texts[path])


def measure(source: Path, commits: int, shares: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder, OllamaServer() as server:
        root = Path(folder) / source.name
        run_git(Path(folder), "clone", "-q", "--no-checkout", str(source.resolve()), str(root))
        log = run_git(root, "log", "--first-parent", "--format=%H %s", f"-n{commits}").splitlines()
        steps = [line.partition(" ")[::2] for line in reversed(log)]
        peers: dict[str, list[str]] = {"anew by path": [], "anew least recent first": []}
        talks = [""]
        for sha, subject in steps:
            run_git(root, "checkout", "-q", "--force", sha)
            repo = Repo.open(root)
            for by_path, prompts in zip((True, False), peers.values()):
                prompts.append(f"{anew(repo, by_path)}{talks[-1]}{subject}")
            talks.append(f"{talks[-1]}{subject}{ANSWER}")
        print(f"{'':28} {'mean':>6} {'median':>7} {'least':>6} {'more':>7}")
        for name, prompts in peers.items():
            row(name, prompts, sum(map(count, prompts)))
        for renew in shares:
            briefing.RENEW_SHARE = renew
            home = Path(folder) / f"home {renew}"
            home.mkdir()
            repo, state = Repo(root), State(home)
            built_in = BuiltIn(repo.index, lambda kind, **how: ("", []), "Chip")
            chat = Chat(repo, Choice(state, Ollama(server.url), built_in), Discussions(state), "W")
            discussion, start, alone = chat.discussions.start(), len(server.chats), 0
            for at, (sha, subject) in enumerate(steps):
                run_git(root, "checkout", "-q", "--force", sha)
                server.say(ANSWER)
                asyncio.run(ask(chat, discussion, subject))
                speaker, _ = asyncio.run(chat.choice.speaker())
                told = chat.briefing.pack(speaker.name, speaker.window_tokens, subject)
                alone += told["total_tokens"] + count(talks[at] + subject)
            asyncio.run(ask(chat, discussion, "And what else?"))
            bodies = [request.body["messages"] for request in server.chats[start:]]
            texts = ["".join(each["content"] for each in messages) for messages in bodies]
            packs = [messages[0]["content"] for messages in bodies]
            renewed = sum(one != other for one, other in pairwise(packs))
            note = f"{renewed} renewed, second question {100 * share(*texts[-2:]):.1f}"
            row(f"kept, renewed at {renew:.2f}", texts[:-1], alone, note)
        forms = [file["form"] for file in told["files"]]
        held = ", ".join(f"{forms.count(form)} {form}" for form in sorted(set(forms)))
        print(f"{len(steps)} commits; the last pack has {told['total_tokens']:,} tokens: {held}\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("repositories", type=Path, nargs="+")
    parser.add_argument("--commits", type=int, default=20)
    parser.add_argument("--shares", type=float, nargs="+", default=[briefing.RENEW_SHARE])
    options = parser.parse_args()
    for source in options.repositories:
        print(source)
        measure(source, options.commits, options.shares)


if __name__ == "__main__":
    main()
