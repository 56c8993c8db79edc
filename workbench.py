"""The front door: set-up, command line, wiring. The only file that prints.

Starts with the standard library alone, and runs itself inside `.venv`. Invariant: bad input never
ends in a traceback.
"""

import argparse
import asyncio
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

from shapes import Finish, Piece, WorkbenchError

if TYPE_CHECKING:
    from chat import Chat

ROOT = Path(__file__).resolve().parent
APP_NAME = re.sub("[-_]", " ", ROOT.name).title()
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PIP = (PYTHON, "-m", "pip", "install", "-qq", "--require-hashes", "-r", "requirements.txt")
NPM = ("npm", "ci", "--silent", "--ignore-scripts")
CDN = "https://cdn.jsdelivr.net/npm/"
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # all but tabs and line ends
LATER = ("rag", "upgrades")


def say(text: str) -> None:
    print(CONTROL.sub("", text), file=sys.stderr, flush=True)


def set_up() -> None:
    """Install what is not installed as it is asked for now, and go on inside the environment."""
    with Path(__file__).open() as lock:  # two first starts at once: one after the other
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not PYTHON.exists():
            _run(sys.executable, "-m", "venv", "--clear", VENV)
        for install, folder, name in (
            (partial(_run, *PIP), VENV, "requirements.txt"),
            (_assets, ROOT / "node_modules", "package-lock.json"),
        ):
            stamp, wanted = folder / "workbench.stamp", (ROOT / name).read_text() + sys.version
            if not (stamp.exists() and stamp.read_text() == wanted):
                try:
                    install()
                    stamp.write_text(wanted)
                except OSError as error:  # all but the page works without them
                    say(f"{error}. The page stays bare until there is a network, or npm.")
    if not VENV.samefile(sys.prefix):
        os.execv(PYTHON, [PYTHON, __file__, *sys.argv[1:]])


def _run(*command: str | Path) -> None:
    say(f"· {' '.join(map(str, command))}")
    if subprocess.call(command, cwd=ROOT, stdout=sys.stderr):
        sys.exit("It failed. Check the network, and that this folder can be written to.")


def _assets(root: Path = ROOT, cdn: str = CDN) -> None:
    """By npm; without it the same files from a CDN, each held to its digest."""
    if shutil.which(NPM[0]):
        return _run(*NPM)
    say(f"· npm is missing: the page's libraries come from {cdn}")
    for name, digest in json.loads((root / "package.json").read_text())["assets"].items():
        data = urlopen(cdn + name, timeout=30).read()
        if sha256(data).hexdigest() != digest:
            raise OSError(f"{name} is not what package.json says")
        place = root / "node_modules" / re.sub(r"(?<=.)@[\d.]+", "", name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("workbench.py", description="A page that knows its source.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int]) -> Callable:
        sub = commands.add_parser(name, help=run.__doc__)
        sub.set_defaults(run=run)
        sub.add_argument("--repo", type=Path, default=ROOT, help="default: itself")
        if run is not _serve:
            sub.add_argument("--json", action="store_true", help="one JSON object on stdout")
        return sub.add_argument

    add = command("serve", _serve)
    add("--host", choices=["127.0.0.1", "localhost"], default="127.0.0.1")
    add("--port", type=_positive, default=5001)
    add("--no-browser", action="store_true")
    add("--fds", type=int, nargs=2, help=argparse.SUPPRESS)  # from the supervisor to a body
    command("rehearse", _rehearse)
    add = command("pack", _pack)
    add("--budget", type=_positive, default=128_000)
    add("--ask", default="", help="the question to pack for")
    add = command("ask", _ask)
    add("text")
    add("--model", default="", help="an Ollama model, or built-in")
    add = command("patch", _patch)
    add("what", choices=["preview", "apply", "undo", "redo", "keep", "list"])
    add("file", nargs="?", default="", metavar="FILE|-|N", help="a diff or a whole reply; steps")
    commands.add_parser("test", help="ruff and pytest; what follows it goes to pytest")
    return parser


def _positive(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def main(argv: list[str]) -> int:
    """Run one command; returns its exit status: 0 done, 1 refused, 2 wrong usage."""
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        argv = ["serve", *argv]
    try:
        if argv[0] == "test":
            return _test(argv[1:])
        if argv[0] in LATER:
            raise WorkbenchError(f"{argv[0]} is not built yet.", "See CHANGELOG.md.")
        options = _parser().parse_args(argv)
        return options.run(options)
    except WorkbenchError as error:
        if "--json" in argv:
            print(json.dumps({"ok": False, "reason": str(error)}))
        say(f"{error.message}\n{error.hint}")
        return 1
    except BrokenPipeError:  # `workbench.py pack | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _show(options: argparse.Namespace, answer: dict[str, object], words: str) -> int:
    """One JSON object, or words, which must not steer a terminal."""
    sys.stdout.reconfigure(errors="replace")
    print(json.dumps(answer) if options.json else CONTROL.sub("", words), flush=True)
    return int(not answer.get("ok", True))


def _test(arguments: list[str]) -> int:
    steps = (["ruff", "check", "-q"], ["ruff", "format", "-q", "--check"], ["pytest", *arguments])
    return int(any(subprocess.call([sys.executable, "-m", *step], cwd=ROOT) for step in steps))


def _wire(options: argparse.Namespace) -> "Chat":
    import patches
    from chat import ASSISTANT, Chat, Choice, Discussions
    from models import BuiltIn, Ollama
    from repo import Repo
    from state import State, home

    repo = Repo.open(options.repo)
    state = State(home(repo.root))
    built_in = BuiltIn(repo.index, partial(patches.rewrite, repo), ASSISTANT)
    return Chat(repo, Choice(state, Ollama(), built_in), Discussions(state), APP_NAME)


def _pack(options: argparse.Namespace) -> int:
    """Print what the model is told."""
    chat = _wire(options)
    speaker, _ = asyncio.run(chat.choice.speaker())
    window = speaker.window_tokens
    answer = chat.briefing.pack(speaker.name, window, options.ask, options.budget)
    answer["budget"] = answer.pop("budget_tokens")
    return _show(options, answer, answer["text"])


def _ask(options: argparse.Namespace) -> int:
    """Ask about the repository."""
    chat = _wire(options)
    reply = chat.reply(options.text, model=options.model)

    async def listen() -> list[Piece | Finish]:
        pieces = []
        async for piece in reply:
            pieces.append(piece)
            if isinstance(piece, Piece) and piece.kind == "phase":
                say(piece.text)
        return pieces

    *pieces, finish = asyncio.run(listen())
    if finish.note:
        say(finish.note)
    text = "".join(piece.text for piece in pieces if piece.kind == "text")
    answer = asdict(finish) | {"answer": text, "model": reply.speaker.name}
    answer["sources"] = finish.sources or chat.sources(text)
    return _show(options, answer, text)


def _patch(options: argparse.Namespace) -> int:
    """Preview, apply, undo, redo, keep or list edits."""
    import patches
    from repo import Repo

    repo, text, answer = Repo.open(options.repo), options.file, {"ok": True}
    branch = patches.Branch(repo)
    match options.what:
        case "list":
            rows = branch.changes()
            words = "\n".join(f"{row.commit[:12]} {row.state:8} {row.subject}" for row in rows)
            return _show(options, answer | {"patches": [*map(asdict, rows)]}, words)
        case "preview" | "apply" as what:
            verdict = patches.preview(repo, _read_edit(text))
            answer = asdict(verdict)
            answer["files"] = answer.pop("changes")
            if what == "preview" or not verdict.ok:
                return _show(options, answer, verdict.diff or verdict.reason)
            done = branch.apply(verdict)
        case "undo" | "redo" as move:
            if not re.fullmatch(r"([1-9]\d{0,2})?", text):
                raise WorkbenchError(f"{text!r} is not a number of steps.", "Give 1 or more.")
            done = getattr(branch, move)(int(text or 1))
        case _:
            done = branch.keep()
    words = f"The tree is at {done.commit} on {done.branch}."
    return _show(options, answer | asdict(done), words)


def _read_edit(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except (OSError, ValueError) as error:
        hint = "Name a file, or - for standard input."
        raise WorkbenchError(f"{name!r} cannot be read: {error}.", hint) from error
    return data.decode("utf-8", "surrogateescape")


def _serve(options: argparse.Namespace) -> int:
    """Open the page (the default)."""
    import webbrowser
    from importlib.metadata import distributions

    import patches
    import supervisor
    from repo import Repo
    from state import home

    if options.fds:
        return _body(options)
    root = Repo.open(options.repo).root

    def ready(url: str) -> None:
        packages = len(list(distributions()))
        say(f"{APP_NAME} is at {url}  ({root}, {packages} packages; Ctrl-C ends it)")
        if not options.no_browser:
            webbrowser.open(url)

    command = [sys.executable, __file__, "serve", "--repo", str(root), f"--port={options.port}"]
    own = patches.Branch(Repo(ROOT))  # in memory from now on, whatever becomes of its source
    with (home(root) / "serving").open("a+") as serving:
        try:
            fcntl.flock(serving, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            serving.seek(0)
            say("It is served already.")
            ready(serving.read())
            return 0
        serving.truncate(0)
        print(f"http://{options.host}:{options.port}/", end="", file=serving, flush=True)
        with suppress(WorkbenchError):  # what cannot be written can still be read
            if mended := patches.Branch(Repo(root)).mend():
                say(f"A change was cut short; the source is at {mended} now.")
        parent = supervisor.Parent(command, ROOT, ready, say, own.confirm, own.rescue)
        try:
            parent.serve(options.host, options.port)
        except (OSError, OverflowError) as error:  # in use, not allowed, or no port at all
            hint = "Close what uses it, or give another --port."
            raise WorkbenchError(f"Port {options.port} cannot be had: {error}.", hint) from error
    return 0


def _rehearse(options: argparse.Namespace) -> int:
    """Serve for a moment, without Ollama, and look at every page."""
    import signal
    import socket
    import threading

    from web import visit

    os.environ["OLLAMA_HOST"] = "127.0.0.1:9"
    with socket.create_server(("127.0.0.1", 0)) as spare:
        port = spare.getsockname()[1]
    seen = []

    def look() -> None:
        seen.append(visit(f"http://127.0.0.1:{port}/", say))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look).start()
    serve = ["serve", f"--repo={options.repo}", "--no-browser", f"--port={port}"]
    return _serve(_parser().parse_args(serve)) or int(seen != [True])


def _body(options: argparse.Namespace) -> int:
    from state import home, token
    from web import Control, make_app

    chat = _wire(options)
    control = Control(*options.fds, chat.busy)
    app, desk = make_app(chat, control, token(home(chat.repo.root)), options.port)
    control.obey(app, desk.heard)
    return 0


if __name__ == "__main__":
    set_up()
    sys.exit(main(sys.argv[1:]))
