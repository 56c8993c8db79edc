"""The front door: set-up, command line, wiring. The only file that prints.

Starts with the standard library alone, and runs itself inside `.venv`. Knows how the rooms fit
together and nothing of what they do. Invariant: bad input never ends in a traceback.
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
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shapes import Finish, WorkbenchError

if TYPE_CHECKING:
    from chat import Chat
    from patches import Branch

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
ASSETS = ROOT / "node_modules"
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # all but tabs and line ends


def say(text: str) -> None:
    print(CONTROL.sub("", text), file=sys.stderr, flush=True)


def set_up() -> None:
    """Make sure that the environment is complete, and go on inside it. A stamp in each folder holds
    what was installed, so that a repeated start only compares."""
    for folder, name, install in (
        (VENV, "requirements.txt", _install_packages),
        (ASSETS, "package-lock.json", _install_assets),
    ):
        stamp, wanted = folder / "workbench.stamp", (ROOT / name).read_text() + sys.version
        if stamp.exists() and stamp.read_text() == wanted:
            continue
        with Path(__file__).open() as lock:  # two first starts at once: one after the other
            fcntl.flock(lock, fcntl.LOCK_EX)
            if install():
                stamp.write_text(wanted)
    if Path(sys.prefix).resolve() != VENV.resolve():
        os.execv(PYTHON, [str(PYTHON), str(ROOT / "workbench.py"), *sys.argv[1:]])


def _install_packages() -> bool:
    uv = shutil.which("uv")
    if not PYTHON.exists() or subprocess.run([PYTHON, "-c", ""], check=False).returncode:
        _step("making .venv", [sys.executable, "-m", "venv", "--clear", str(VENV)])
    pip = [uv, "pip", "install", "--python", PYTHON] if uv else [PYTHON, "-m", "pip", "install"]
    what = f"installing requirements.txt with {'uv' if uv else 'pip'}"
    _step(what, [*pip, "-q", "--require-hashes", "-r", "requirements.txt"])
    return True


def _install_assets() -> bool:
    npm = shutil.which("npm")
    if npm:  # else the page says that it uses the CDN, and the next start looks again
        _step("installing the browser assets with npm", [npm, "ci", "--silent", "--ignore-scripts"])
    return bool(npm)


def _step(what: str, command: list[str | Path]) -> None:
    say(f"· {what} …")
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True)
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        say(f"{tail}\nSet-up stopped while {what}: exit status {done.returncode}.")
        sys.exit("Check the network and that this folder can be written to, then start again.")
    say(f"  done in {time.monotonic() - begun:.1f} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="workbench.py", description="A local web page that knows its own source."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--repo", type=Path, default=ROOT, metavar="DIR", help="default: itself")
        if name != "serve":
            sub.add_argument("--json", action="store_true", help="one JSON object on stdout")
        return sub

    serve = command("serve", "open the page (the default)")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=_positive, default=5001)
    serve.add_argument("--no-browser", action="store_true")
    for name in ("--listen-fd", "--control-fd"):  # how the supervisor starts a body
        serve.add_argument(name, type=int, help=argparse.SUPPRESS)
    pack = command("pack", "print what the model is told")
    pack.add_argument("--budget", type=_positive, default=128_000, metavar="TOKENS")
    pack.add_argument("--ask", default="", metavar="TEXT", help="the question to pack for")
    ask = command("ask", "ask about the repository")
    ask.add_argument("text", metavar="TEXT")
    ask.add_argument("--model", default="", metavar="NAME", help="an Ollama model, or built-in")
    patch = command("patch", "preview, apply, undo, redo, keep or list edits")
    patch.add_argument("what", choices=["preview", "apply", "undo", "redo", "keep", "list"])
    patch.add_argument("file", nargs="?", metavar="FILE|-|N", help="a diff or a whole reply; steps")
    commands.add_parser("test", help="ruff and pytest; what follows it goes to pytest")
    for name in LATER:
        commands.add_parser(name, help="not built yet")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
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
        return COMMANDS[options.command](options)
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


def _show(options: argparse.Namespace, answer: dict[str, object], words: str) -> None:
    """One JSON object, or words, which must not steer a terminal."""
    text = json.dumps(answer) if options.json else CONTROL.sub("", words)
    sys.stdout.buffer.write(text.encode("utf-8", "replace") + b"\n")
    sys.stdout.flush()


def _test(arguments: list[str]) -> int:
    steps = (["ruff", "check", "-q"], ["ruff", "format", "-q", "--check"], ["pytest", *arguments])
    runs = (subprocess.run([sys.executable, "-m", *step], cwd=ROOT, check=False) for step in steps)
    return int(any(run.returncode for run in runs))


def _wire(options: argparse.Namespace) -> tuple["Chat", "Branch"]:
    import patches
    from chat import ASSISTANT, Chat, Choice, Discussions
    from models import BuiltIn, Ollama
    from repo import Repo
    from state import State, home

    repo = Repo.open(options.repo)
    state = State(home(repo.root))
    built_in = BuiltIn(repo.index, partial(patches.rewrite, repo), ASSISTANT)
    chat = Chat(repo, Choice(state, Ollama(), built_in), Discussions(state), _app_name())
    return chat, patches.Branch(repo)


def _pack(options: argparse.Namespace) -> int:
    from chat import ASSISTANT
    from context import Identity, pack
    from repo import Repo

    identity = Identity(ASSISTANT, _app_name(), "a language model", options.budget)
    answer = asdict(pack(Repo.open(options.repo), options.budget, identity, options.ask))
    answer["budget"] = answer.pop("budget_tokens")
    _show(options, answer, answer["text"])
    return 0


def _ask(options: argparse.Namespace) -> int:
    chat, _ = _wire(options)
    reply = chat.reply(options.text, model=options.model)

    async def listen() -> tuple[str, Finish]:
        parts, finish = [], Finish("incomplete")
        async for piece in reply:
            if isinstance(piece, Finish):
                finish = piece
            elif piece.kind == "phase":
                say(piece.text)
            elif piece.kind == "text":
                parts.append(piece.text)
        return "".join(parts), finish

    text, finish = asyncio.run(listen())
    answer = {"answer": text, "model": reply.speaker.name}
    answer["sources"] = list(finish.sources or chat.sources(text))
    answer |= {"prompt_tokens": finish.prompt_tokens, "reply_tokens": finish.reply_tokens}
    _show(options, answer, text)
    if finish.note:
        say(finish.note)
    return 0


def _patch(options: argparse.Namespace) -> int:
    import patches
    from repo import Repo

    repo = Repo.open(options.repo)
    branch = patches.Branch(repo)
    if options.what in ("preview", "apply"):
        verdict = patches.preview(repo, _read_edit(options.file))
        answer = asdict(verdict) | {"files": []}
        for change in answer.pop("changes"):
            shown = {key: change[key] for key in ("path", "action", "after", "old_path")}
            answer["files"].append({k: v for k, v in shown.items() if k != "old_path" or v})
        words = verdict.diff or verdict.reason
        if verdict.ok and options.what == "apply":
            answer |= asdict(branch.apply(verdict))
            words = f"Applied as {answer['commit']} on {answer['branch']}."
    elif options.what == "list":
        rows = branch.changes()
        answer = {"ok": True, "patches": [asdict(row) for row in rows]}
        words = "\n".join(f"{row.commit[:12]} {row.state:8} {row.subject}" for row in rows)
    else:
        steps = options.file or "1"
        if not steps.isdecimal() or not 0 < int(steps) < 1000:
            raise WorkbenchError(f"{steps!r} is not a number of steps.", "Give 1 or more.")
        moves = {"undo": partial(branch.undo, int(steps)), "redo": branch.redo, "keep": branch.keep}
        answer = {"ok": True} | asdict(moves[options.what]())
        words = f"The tree is at {answer['commit']} on {answer['branch']}."
    _show(options, answer, words)
    return 0 if answer["ok"] else 1


def _read_edit(name: str | None) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name or "").read_bytes()
    except (OSError, ValueError) as error:
        hint = "Name a file, or - for standard input."
        raise WorkbenchError(f"{name or 'No file'} cannot be read: {error}.", hint) from error
    return data.decode("utf-8", "surrogateescape")


def _app_name() -> str:
    return ROOT.name.replace("-", " ").replace("_", " ").title()


def _serve(options: argparse.Namespace) -> int:
    import webbrowser
    from importlib.metadata import distributions

    import supervisor
    from repo import Repo

    if options.control_fd is not None:
        return _body(options)
    root = Repo.open(options.repo).root
    if options.host not in ("127.0.0.1", "localhost"):
        why = f"{options.host} is not an address of this machine alone."
        raise WorkbenchError(why, "Workbench is for one person on one machine: leave out --host.")

    def ready(url: str) -> None:
        packages = len(list(distributions()))
        say(f"{_app_name()} is at {url}  ({root}, {packages} packages; Ctrl-C ends it)")
        if not options.no_browser:
            webbrowser.open(url)

    command = [sys.executable, str(ROOT / "workbench.py"), "serve", "--repo", str(root)]
    command += ["--host", options.host, "--port", str(options.port)]
    try:
        return supervisor.run(command, ROOT, options.host, options.port, on_ready=ready, report=say)
    except (OSError, OverflowError) as error:  # in use, not allowed, or no port at all
        hint = "Close what uses it, or give another --port."
        raise WorkbenchError(f"Port {options.port} cannot be had: {error}.", hint) from error


def _body(options: argparse.Namespace) -> int:
    from state import home, token
    from web import Control, make_app, serve

    chat, branch = _wire(options)
    control = Control()
    secret = token(home(chat.repo.root))
    app, desk = make_app(chat, branch, control, secret, _app_name(), options.port)
    fds = {"listen_fd": options.listen_fd, "control_fd": options.control_fd}
    serve(app, control, **fds, busy=chat.busy, on_event=desk.heard)
    return 0


COMMANDS = {"serve": _serve, "pack": _pack, "ask": _ask, "patch": _patch}
LATER = ("rag", "upgrades")

if __name__ == "__main__":
    set_up()
    sys.exit(main(sys.argv[1:]))
