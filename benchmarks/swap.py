"""What swapping a body costs those who are being served, and what can go wrong with it.

`load`: one small app under `supervisor.Parent` and, in the same run, under `uvicorn --reload`; each
saved N times while R requests a second arrive (half on kept connections, half on new ones; a third
has 50 ms of work of its own) and ten WebSockets ask for replies of 0.25 s. A request fails when it
has no whole answer with status 200; a reply is lost when it does not come whole and in order on the
connection that asked. `wait` is what a request took beyond its own work.
`broken`: N patches of 20 kinds saved into the app; the page is asked for all the while.
`kills`: N times a process that applies, undoes and redoes is killed with all its children, at a
random moment; the next look must find before or after, no lock, and a sound repository.

    python -m benchmarks.swap load --swaps 20 --rate 200
    python -m benchmarks.swap broken --times 20
    python -m benchmarks.swap kills --times 200
"""

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import websockets

from patches import Branch
from repo import Repo
from shapes import Change, Verdict
from tests.conftest import run_git
from tests.running import free_port, wait_until

HOUSE = Path(__file__).resolve().parent.parent
APP = """
import asyncio, os
from product import VERSION

draining, replies = None, set()

async def chat(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    leaving = asyncio.create_task(draining.wait() if draining else asyncio.Event().wait())
    while True:
        asked = asyncio.create_task(receive())
        if (await receive_any(asked, leaving)) is leaving and not asked.done():
            return await send({"type": "websocket.close", "code": 1012})
        if asked.result()["type"] != "websocket.receive":
            return
        if asked.result().get("text"):
            key = asked.result()["text"]
            replies.add(key)
            for piece in range(5):
                await send({"type": "websocket.send", "text": f"{key} {piece}"})
                await asyncio.sleep(0.05)
            await send({"type": "websocket.send", "text": f"{key} end"})
            replies.discard(key)

async def receive_any(*tasks):
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return done.pop() if len(done) == 1 else tasks[0]

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        return await chat(scope, receive, send)
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/work":
        await asyncio.sleep(0.05)
    body = f"{VERSION} {os.getpid()}".encode()
    head = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})
"""
MAIN = f"""
import importlib.util, sys
import main_app

spec = importlib.util.spec_from_file_location("body", {str(HOUSE / "web/body.py")!r})
body = importlib.util.module_from_spec(spec)
spec.loader.exec_module(body)

async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/healthz":
        scope = dict(scope, path="/")
    await main_app.app(scope, receive, send)

control = body.Control(int(sys.argv[-2]), int(sys.argv[-1]), lambda: bool(main_app.replies))
main_app.draining = control.draining
control.obey(app, lambda news: None)
"""
PARENT = """
import sys
from pathlib import Path
import supervisor

supervisor.Parent(
    [sys.executable, "main.py"], Path(sys.argv[1]), lambda url: None, lambda words: None,
    boot_s=float(sys.argv[3])).serve("127.0.0.1", int(sys.argv[2]))
"""
VERSION = "VERSION = {}\n"


class Served:
    """The app in a folder, under `supervisor` or `reload`."""

    def __init__(self, folder: Path, how: str, boot_s: float = 30) -> None:
        self.root, self.port = folder, free_port()
        for name, text in {"main_app.py": APP, "main.py": MAIN}.items():
            (folder / name).write_text(text)
        self.save(VERSION.format(0))
        command = [sys.executable, "-c", PARENT, str(folder), str(self.port), str(boot_s)]
        if how == "reload":
            command = [sys.executable, "-m", "uvicorn", "main_app:app", "--reload"]
            command += ["--port", str(self.port), "--app-dir", str(folder)]
            command += ["--reload-dir", str(folder), "--log-level", "critical"]
        env = os.environ | {"PYTHONPATH": str(HOUSE)}
        self.process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.page() == "0", "the app")

    def save(self, text: str) -> None:
        (self.root / ".fresh").write_text(text)
        (self.root / ".fresh").replace(self.root / "product.py")

    def page(self) -> str:
        try:
            page = httpx.get(f"http://127.0.0.1:{self.port}/", timeout=2, trust_env=False)
            return page.text.split()[0]
        except (httpx.HTTPError, IndexError):
            return ""

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


class Load:
    def __init__(self, port: int, rate: int) -> None:
        self.port, self.rate = port, rate
        self.count, self.waits, self.seen = Counter(), [], set()
        self.over = asyncio.Event()

    async def caller(self, keep: bool, per_s: float) -> None:
        line = None
        while not self.over.is_set():
            begun = time.monotonic()
            work = random.random() < 1 / 3
            try:
                if line is None:
                    line = await asyncio.open_connection("127.0.0.1", self.port)
                reader, writer = line
                path, how = "/work" if work else "/", "keep-alive" if keep else "close"
                writer.write(
                    f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: {how}\r\n\r\n".encode()
                )
                async with asyncio.timeout(15):
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    size = int(head.partition(b"content-length: ")[2].split()[0])
                    self.seen.add((await reader.readexactly(size)).split()[0].decode())
                assert b" 200 " in head.partition(b"\r\n")[0]
                self.count["requests"] += 1
                self.waits.append(time.monotonic() - begun - 0.05 * work)
                if not keep or b"connection: close" in head:
                    writer.close()
                    line = None
            except (OSError, EOFError, TimeoutError, AssertionError, ValueError):
                self.count["failed"] += 1
                line = None
                await asyncio.sleep(0.05)
            await asyncio.sleep(max(0, 1 / per_s - (time.monotonic() - begun)))

    async def talker(self, name: int) -> None:
        number = 0
        while not self.over.is_set():
            try:
                url = f"ws://127.0.0.1:{self.port}/ws"
                async with websockets.connect(url, proxy=None, open_timeout=15) as line:
                    while not self.over.is_set():
                        number += 1
                        key, pieces = f"{name}.{number}", []
                        await line.send(key)
                        try:
                            while not pieces or not pieces[-1].endswith("end"):
                                pieces.append(await asyncio.wait_for(line.recv(), 15))
                        except (websockets.ConnectionClosed, TimeoutError):
                            # what was not begun is said again to the next body, as the page does
                            self.count["said again" if not pieces else "replies lost"] += 1
                            raise
                        whole = [f"{key} {x}" for x in (*range(5), "end")]
                        self.count["replies" if pieces == whole else "replies doubled"] += 1
            except (OSError, TimeoutError, websockets.WebSocketException):
                await asyncio.sleep(0.05)

    async def run(self, served: Served, swaps: int) -> list[float]:
        took = []
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(self.caller(number % 2 == 0, self.rate / 20))
            for name in range(10):
                group.create_task(self.talker(name))
            for version in map(str, range(1, swaps + 1)):
                begun = time.monotonic()
                served.save(VERSION.format(version))
                while version not in self.seen and time.monotonic() < begun + 60:
                    await asyncio.sleep(0.02)
                took.append(time.monotonic() - begun)
                await asyncio.sleep(0.3)
            self.over.set()
        return took


def load(swaps: int, rate: int) -> None:
    names = "requests failed replies lost doubled said_again wait_p50 wait_p99 wait_max swap_p50"
    print("{:12}".format(f"{swaps} swaps") + "".join(f"{name:>11}" for name in names.split()))
    for how in ("reload", "supervisor"):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            served = Served(Path(folder), how)
            seen = Load(served.port, rate)
            took = sorted(asyncio.run(seen.run(served, swaps)))
            served.end()
        waits = sorted(seen.waits)
        keys = ("requests", "failed", "replies", "replies lost", "replies doubled", "said again")
        row = [seen.count[key] for key in keys]
        at = (waits[len(waits) // 2], waits[len(waits) * 99 // 100], waits[-1], took[swaps // 2])
        print(f"{how:12}" + "".join(f"{x:>11}" for x in (*row, *(f"{x:.3f}" for x in at))))


LATE = "\ndef later(act):\n    import asyncio, threading\n    threading.Timer(0.7, act).start()\n"
BROKEN = {
    "syntax": "def f(:",
    "indentation": "if True:\nx = 1",
    "import": "import nowhere_to_be_found",
    "name": "VERSION = unknown",
    "missing": "x = 1",
    "raises": "raise RuntimeError('boom')",
    "exits": "raise SystemExit(0)",
    "os._exit": "import os; os._exit(3)",
    "abort": "import os; os.abort()",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "loop": "while True: pass",
    "sleep": "import time; time.sleep(1000)",
    "memory": "x = [0] * 2**50",
    "recursion": "def f(): f()\nf()",
    "children": "import subprocess\nfor _ in range(50): subprocess.Popen(['sleep', '1000'])\n1/0",
    "closes": "import os, sys; os.close(int(sys.argv[-2]))",
    "mute": "import os, sys; os.close(int(sys.argv[-1]))",
    "binary": "\0",
    "dies later": "VERSION = -1" + LATE + "import os\nlater(lambda: os._exit(3))",
    "hangs later": "VERSION = -1" + LATE
    + "import main_app, time\nasync def app(*x): time.sleep(1000)\n"
    + "later(lambda: setattr(main_app, 'app', app))",
}  # fmt: skip


def broken(times: int) -> None:
    """After each, a good version; what the page answers in between must be a good one."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        served, count = Served(Path(folder), "supervisor", boot_s=4), Counter()
        for good in range(times):
            kind = list(BROKEN)[good % len(BROKEN)]
            served.save(BROKEN[kind] + f"\n# {good}")
            until = time.monotonic() + (6 if kind in ("loop", "sleep") else 2)
            if "later" in kind:
                until += 12
            while time.monotonic() < until:
                seen = served.page()
                count[kind, {str(good): "answered", "-1": "the bad one"}.get(seen, "silent")] += 1
                time.sleep(0.05)
            if served.page() != str(good):
                count[kind, "lost"] += 1
            served.save(VERSION.format(good + 1))
            wait_until(lambda: served.page() == str(good + 1), f"a version after {kind}")  # noqa: B023
        served.end()
    names = ("answered", "the bad one", "silent", "lost")
    print("{:14}".format(f"{times} patches") + "".join(f"{name:>13}" for name in names))
    for kind in list(BROKEN)[:times]:
        print(f"{kind:14}" + "".join(f"{count[kind, name]:>13}" for name in names))


def act(branch: Branch, verdict: Verdict) -> None:
    """In a process of its own, until it is killed."""
    os.setsid()
    while True:
        branch.apply(verdict, "one")
        branch.undo()
        branch.redo()
        branch.undo()


def kills(times: int) -> None:
    os.environ |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    count = Counter()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "repo")
        root.mkdir()
        run_git(root, "init", "-q")
        for number in range(12):
            (root / f"f{number}.py").write_text(f"x = {number}\n" * 2000)
        run_git(root, "add", ".")
        run_git(root, "commit", "-qm", "first")
        before = run_git(root, "rev-parse", "HEAD").strip()
        branch = Branch(Repo(root))
        names = [f"f{number}.py" for number in range(12)]
        shas = [branch.repo.text(name).sha for name in names]
        changes = [Change(n, "modify", "x = -1\n" * 2000, sha) for n, sha in zip(names, shas)]
        verdict = Verdict(True, "", [*changes, Change("n/new.py", "create", "n = 1\n")])
        for _ in range(times):
            if not (acting := os.fork()):
                act(branch, verdict)
            time.sleep(random.uniform(0.2, 1.5))
            os.killpg(acting, signal.SIGKILL)
            os.waitpid(acting, 0)
            dirty = "--no-optional-locks", "status", "--porcelain"
            count["half done at the kill"] += (root / ".git/workbench.journal").exists()
            locks = [p for p in (root / ".git").rglob("*.lock") if p.name != "workbench.lock"]
            count["lock left at the kill"] += bool(locks)
            branch.mend()
            locks = [p for p in (root / ".git").rglob("*.lock") if p.name != "workbench.lock"]
            count["lock left after"] += bool(locks)
            count["tree between"] += bool(run_git(root, *dirty))
            count["detached"] += not branch.repo.branch()
            count["unsound"] += bool(run_git(root, "fsck", "--no-dangling"))
            count["at the new"] += branch.repo.head() != before
            if branch.repo.head() != before:
                branch.undo()
            count["undo did not give it back"] += branch.repo.head() != before
    for name, number in count.items():
        if name:
            print(f"{name:28}{number:5} of {times}")


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    wanted.add_argument("what", choices=["load", "broken", "kills"])
    wanted.add_argument("--swaps", type=int, default=20)
    wanted.add_argument("--rate", type=int, default=200)
    wanted.add_argument("--times", type=int, default=20)
    options = wanted.parse_args()
    if options.what == "load":
        load(options.swaps, options.rate)
    else:
        {"broken": broken, "kills": kills}[options.what](options.times)


if __name__ == "__main__":
    main()
