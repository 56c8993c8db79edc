"""A tiny real program under a real parent: saved, broken, mended, loaded, killed. Rows J11, K1-K4,
K6, M3."""

import ast
import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

import supervisor
from tests.running import wait_until

HOUSE = Path(supervisor.__file__).parent.parent
PRODUCT = 'VERSION = "{}"\nHEALTH = 200\n'

BODY = '''
"""Serves what product.py says, through the real web/body.py."""
import argparse, asyncio, importlib.util, json, os, subprocess, sys, time
from pathlib import Path

with open(os.environ["BOOTS"], "a") as log:
    print(os.getpid(), file=log)
import product

spec = importlib.util.spec_from_file_location("body", os.environ["WEB_BODY"])
body = importlib.util.module_from_spec(spec)
spec.loader.exec_module(body)
events, replies = [], set()

async def reply(scope, receive, send):
    await send({"type": "websocket.accept"})
    await receive()
    await send({"type": "websocket.send", "text": product.VERSION})
    leaving = asyncio.create_task(control.draining.wait())
    while True:
        message = asyncio.create_task(receive())
        await asyncio.wait([message, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not message.done():
            return await send({"type": "websocket.close", "code": 1012})
        if message.result()["type"] == "websocket.disconnect":
            return
        replies.add(scope["client"])
        for piece in range(8):
            await send({"type": "websocket.send", "text": str(piece)})
            await asyncio.sleep(0.05)
        await send({"type": "websocket.send", "text": "end"})
        replies.discard(scope["client"])

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        return await reply(scope, receive, send)
    if scope["type"] != "http":
        raise NotImplementedError
    path, status, parts = scope["path"], 200, [{}]
    if path == "/healthz":
        status = product.HEALTH
    elif path == "/slow":
        parts = ["a" * 1000] * 5
    elif path == "/exit":
        os._exit(3)
    elif path == "/hang":
        time.sleep(1000)
    elif path == "/look":
        events.clear()
        control.look()
    elif path == "/spawn":
        parts = [subprocess.Popen(["sleep", "1000"]).pid]
    elif path == "/events":
        parts = [events]
    else:
        parts = [{"version": product.VERSION, "pid": os.getpid(), "python": sys.executable,
                  "server": scope["server"]}]
    await send({"type": "http.response.start", "status": status, "headers": []})
    for part in parts:
        data = json.dumps(part).encode()
        await send({"type": "http.response.body", "body": data, "more_body": True})
        await asyncio.sleep(0.04 if len(parts) > 1 else 0)  # a slow response
    await send({"type": "http.response.body"})

wanted = argparse.ArgumentParser()
wanted.add_argument("--fds", type=int, nargs=2)
fds = wanted.parse_args().fds
control = body.Control(*fds, lambda: bool(replies))
control.obey(app, events.append)
'''

PARENT = """
import sys
from pathlib import Path
import supervisor

root, port, boot_s, proof_s = sys.argv[1:]

def rescue():
    # as git would: the source that was proven last
    good, source = Path(root, "../good"), Path(root, "product.py")
    if good.exists() and good.read_text() != source.read_text():
        source.write_text(good.read_text())
        return "rescued"
    return ""

def confirm():
    Path(root, "../good").write_text(Path(root, "product.py").read_text())
    return ""

supervisor.Parent(
    [sys.executable, "main.py"], Path(root), boot_s=float(boot_s), proof_s=float(proof_s),
    confirm=confirm, rescue=rescue,
    on_ready=lambda url: print("ready", url, flush=True),
    report=lambda words: print(words, flush=True)).serve("127.0.0.1", int(port))
print("exit", flush=True)
"""


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    seen = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(seen.stdout.strip()) and not seen.stdout.strip().startswith("Z")


class Program:
    """A source folder with product.py, and the parent process that serves it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.said, self.boots = folder / "src", folder / "said", folder / "boots"
        self.errors = folder / "errors"
        self.root.mkdir()
        self.boots.touch()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self.save("main.py", BODY)
        self.save("product.py", PRODUCT.format("1"))
        self.process: subprocess.Popen[bytes] | None = None

    def save(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def start(self, boot_s: float = 30, proof_s: float = 0.5) -> "Program":
        port = self.url.rpartition(":")[2]
        with self.said.open("w") as said, self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PARENT, str(self.root), port, str(boot_s), str(proof_s)],
                cwd=HOUSE,
                env=os.environ | {"BOOTS": str(self.boots), "WEB_BODY": f"{HOUSE}/web/body.py"},
                stdout=said,
                stderr=errors,
            )
        return self

    def get(self, path: str = "/") -> Any:  # noqa: ANN401
        return httpx.get(self.url + path, trust_env=False).json()

    def page(self) -> httpx.Response | None:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self.url, trust_env=False, timeout=2)

    def serves(self, version: str) -> dict[str, Any]:
        """Wait until this version answers."""
        return wait_until(lambda: (p := self.page()) and p.status_code == 200
                          and p.json()["version"] == version and p.json())  # fmt: skip

    def told(self, kind: str) -> Any:  # noqa: ANN401
        """Wait until the serving body was told this; returns the value."""
        events = wait_until(lambda: [e for e in self.get("/events") if kind in e])
        return events[-1][kind]

    def failures(self) -> list[dict[str, str]]:
        return [event["failed"] for event in self.get("/events") if "failed" in event]

    def settled(self) -> None:
        """Wait until the parent has compared the tree and found that it is what serves."""
        self.get("/look")
        assert self.told("unchanged") is True

    def words(self) -> str:
        return self.said.read_text()

    def bodies(self) -> list[int]:
        return [int(pid) for pid in self.boots.read_text().split()]

    def running(self) -> list[int]:
        return [pid for pid in self.bodies() if alive(pid)]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path)
    yield program
    if program.process:
        program.process.kill()
        program.process.wait()
    for pid in program.running():
        os.kill(pid, signal.SIGKILL)


def test_a_saved_file_is_served_by_one_swap_of_the_same_python(program: Program) -> None:
    """J11, K1, M3: and the parent never accepts on the health port's behalf."""
    program.start()
    first = program.serves("1")
    wait_until(lambda: f"ready {program.url}/" in program.words())
    program.save("product.py", PRODUCT.format("2"))
    second = program.serves("2")
    assert second["pid"] != first["pid"]
    assert second["python"] == sys.executable
    program.settled()
    assert program.bodies() == [first["pid"], second["pid"]]
    assert program.words().count("The new version is serving") == 1
    wait_until(lambda: not alive(first["pid"]))


def test_many_saves_at_once_make_one_swap(program: Program) -> None:
    """K1: Python, style and script; new files and deleted ones count."""
    program.save("old.py", "")
    program.start().serves("1")
    (program.root / "plugins").mkdir()
    for number in range(20):
        program.save(f"plugins/p{number}.py", f"x = {number}\n")
    program.save("look.css", "p {}\n")
    (program.root / "old.py").unlink()
    program.save("product.py", PRODUCT.format("2"))
    program.serves("2")
    program.settled()
    assert len(program.bodies()) == 2


def test_a_burst_of_saves_that_lasts_makes_one_swap(program: Program) -> None:
    """K1: nothing is booted before the tree is quiet."""
    program.start().serves("1")
    last = start = time.monotonic()
    longest = 0.0
    while last < start + 1:
        program.save(".plugin.py", f"x = {last}\n")
        (program.root / ".plugin.py").replace(program.root / "plugin.py")
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    program.save("product.py", PRODUCT.format("2"))
    program.serves("2")
    program.settled()
    assert len(program.bodies()) == 2 or longest > 0.25  # else this machine was too slow to tell


def test_what_does_not_change_the_source_makes_no_swap(program: Program) -> None:
    """K1: a touched file, and files that are no source of the program."""
    program.start().serves("1")
    (program.root / "product.py").touch()
    for folder in (".git", "node_modules", "tests"):
        (program.root / folder).mkdir()
        program.save(f"{folder}/new.py", "1/0")
    program.save("notes.md", "# hello")
    program.settled()
    assert len(program.bodies()) == 1


@pytest.mark.parametrize("name", ["main.py", "plugins/todo.py", "helper.py"])
def test_broken_syntax_keeps_the_old_and_tells_file_line_and_caret(
    program: Program, name: str
) -> None:
    """K2, K3: nothing is booted; putting the file back clears the failure."""
    (program.root / "plugins").mkdir()
    if name != "main.py":
        program.save(name, "x = 1\n")
    program.start().serves("1")
    before = (program.root / name).read_text()
    program.save(name, "x = 1\ndef f(:\n    pass\n")
    failed = program.told("failed")
    assert failed["stage"] == "syntax"
    assert f'File "{name}", line 2\n    def f(:\n          ^\nSyntaxError' in failed["error"]
    assert "line 2" in program.words() and "^" in program.words()
    program.save(name, before)
    assert program.told("unchanged")
    assert program.get()["version"] == "1"
    assert len(program.bodies()) == 1


def test_a_new_version_that_raises_at_import_leaves_the_old_one(program: Program) -> None:
    """K4: the traceback is told, in the same second a mended file of the same size is served."""
    program.start().serves("1")
    program.save("product.py", "import nowhere_to_be_found\n")
    failed = program.told("failed")
    assert failed["stage"] == "boot"
    assert "Traceback" in failed["error"] and "nowhere_to_be_found" in failed["error"]
    assert 'File "product.py", line 1' in failed["error"]
    assert "nowhere_to_be_found" in program.errors.read_text()
    assert program.get()["version"] == "1"
    program.save("product.py", PRODUCT.format("2"))
    program.serves("2")


def test_an_unhealthy_version_is_refused_with_its_answer(program: Program) -> None:
    program.start().serves("1")
    program.save("product.py", PRODUCT.format("2").replace("200", "500"))
    failed = program.told("failed")
    assert failed["stage"] == "health"
    assert "500" in failed["error"]
    assert program.get()["version"] == "1"


def test_a_version_that_hangs_is_given_up(program: Program) -> None:
    program.start(boot_s=2).serves("1")
    program.save("product.py", "while True: pass\n")
    failed = program.told("failed")
    assert failed["stage"] == "boot"
    assert "not ready within 2 s" in failed["error"]
    assert len(program.running()) == 1
    program.save("product.py", PRODUCT.format("2"))
    program.serves("2")


def test_a_newer_save_does_not_wait_for_a_version_that_hangs(program: Program) -> None:
    """J11: the one that hangs is killed."""
    program.start(boot_s=600).serves("1")
    program.save("product.py", "while True: pass\n")
    wait_until(lambda: len(program.bodies()) == 2)
    program.save("product.py", PRODUCT.format("2"))
    program.serves("2")
    wait_until(lambda: len(program.running()) == 1)
    assert "did not wake" not in program.words()


def test_old_bytecode_is_not_taken_for_a_file_of_the_same_size_and_date(program: Program) -> None:
    """K4: two saves within a second, as an apply and its undo make them."""
    first = program.start().serves("1")
    program.save("product.py", PRODUCT.format("1").replace('"1"', "1/0"))
    assert "ZeroDivisionError" in program.told("failed")["error"]
    date = (program.root / "product.py").stat().st_mtime_ns
    program.save("product.py", PRODUCT.format("1"))
    os.utime(program.root / "product.py", ns=(date, date))
    program.settled()
    program.save("plugin.py", "")
    wait_until(lambda: program.serves("1")["pid"] != first["pid"])
    assert program.words().count("did not wake") == 1


def test_a_draining_body_neither_cuts_nor_keeps_an_idle_caller(program: Program) -> None:
    """J11: its next request is answered, and told to connect anew."""
    program.start().serves("1")
    request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(program.url.rpartition(":")[2]))) as idle:
        idle.sendall(request)
        first = b""
        while not first.endswith(b"0\r\n\r\n"):
            first += idle.recv(65536)
        program.save("product.py", PRODUCT.format("2"))
        program.serves("2")
        wait_until(lambda: "The new version is serving" in program.words())
        assert not select.select([idle], [], [], 1.0)[0], "it was cut"
        idle.sendall(request)
        answer = b"".join(iter(lambda: idle.recv(65536), b""))
    assert b"connection: close" in answer
    assert b'"version": "1"' in answer


def test_swaps_under_load_lose_no_request_and_no_reply(program: Program) -> None:
    """J11, K6: new and kept-alive connections, slow responses, WebSocket replies in progress."""
    program.start().serves("1")
    counts = {"requests": 0, "replies": 0, "moves": 0}
    seen = set()

    async def call(over: asyncio.Event, keep: bool) -> None:
        paths = ["/", "/slow", "/"]
        async with httpx.AsyncClient(base_url=program.url, trust_env=False) as kept:
            while not over.is_set():
                for path in paths:
                    if keep:
                        answer = await kept.get(path)
                    else:
                        async with httpx.AsyncClient(trust_env=False) as fresh:
                            answer = await fresh.get(program.url + path)
                    assert answer.status_code == 200
                    assert path == "/" or len(answer.text) == 5 * 1002
                    counts["requests"] += 1

    async def talk(over: asyncio.Event) -> None:
        while not over.is_set():
            async with websockets.connect(program.url.replace("http", "ws"), proxy=None) as line:
                seen.add(await line.recv())
                pieces: list[str] = []
                try:
                    while not over.is_set():
                        await line.send("question")
                        pieces = []
                        while not pieces or pieces[-1] != "end":
                            pieces.append(str(await line.recv()))
                        counts["replies"] += 1
                except websockets.ConnectionClosed:
                    counts["moves"] += 1
                    assert line.close_code == 1012
                    assert not pieces or pieces[-1] == "end", "a reply was cut"

    async def load() -> None:
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(call(over, keep=number % 2 == 0))
                group.create_task(talk(over))
            for version in "234":
                program.save("product.py", PRODUCT.format(version))
                async with asyncio.timeout(20):
                    while version not in seen:
                        await asyncio.sleep(0.05)
            over.set()

    asyncio.run(load())
    assert seen == {"1", "2", "3", "4"}
    assert counts["requests"] > 100
    assert counts["replies"] > 10
    assert counts["moves"] >= 8


def test_a_stop_leaves_no_process(program: Program) -> None:
    """Not even what the body has started."""
    program.start().serves("1")
    started = program.get("/spawn")
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(20) == 0
    assert "exit" in program.words()
    assert program.running() == []
    wait_until(lambda: not alive(started))


def test_a_stop_does_not_wait_for_ever_for_a_reply(program: Program) -> None:
    program.save("main.py", BODY.replace("bool(replies)", "True"))
    program.start().serves("1")
    program.process.send_signal(signal.SIGINT)
    assert program.process.wait(10) == 0
    assert program.running() == []


def test_a_body_leaves_when_its_parent_is_killed(program: Program) -> None:
    program.start().serves("1")
    program.process.kill()
    wait_until(lambda: not program.running())


def test_a_body_that_is_killed_comes_back(program: Program) -> None:
    program.start()
    for _ in range(2):
        before = program.serves("1")["pid"]
        os.kill(before, signal.SIGKILL)
        wait_until(lambda before=before: program.serves("1")["pid"] != before)
    assert "The body is gone: it ended" in program.words()


@pytest.mark.parametrize("path", ["/exit", "/hang"])
def test_the_one_before_goes_on_when_the_new_one_fails_before_it_is_proven(
    program: Program, path: str
) -> None:
    """K4: no boot, whatever the source is now; it is not tried again, and a mended one is."""
    first = program.start(proof_s=600).serves("1")
    program.save("product.py", PRODUCT.format("2"))
    program.serves("2")
    with contextlib.suppress(httpx.HTTPError):
        httpx.get(program.url + path, timeout=0.1, trust_env=False)
    assert program.serves("1") == first
    failed = program.told("failed")
    assert failed["stage"] == "serving"
    program.get("/look")
    assert program.get()["pid"] == first["pid"] and len(program.bodies()) == 2
    program.save("product.py", PRODUCT.format("3"))
    program.serves("3")


def test_what_fails_with_nothing_before_it_is_rescued_and_the_next_one_knows(
    program: Program,
) -> None:
    """K4: a bad version that a killed parent left behind."""
    program.start(boot_s=2).serves("1")
    wait_until((program.root / "../good").exists)
    program.process.kill()
    wait_until(lambda: not program.running())
    program.save("product.py", "import nowhere_to_be_found\n")
    program.start().serves("1")
    assert "nowhere_to_be_found" in program.told("failed")["error"]
    assert "rescued" in program.words()


def test_a_body_that_falls_at_once_is_tried_again_ever_later(program: Program) -> None:
    """K4: but a save does not wait for its turn."""
    program.save("product.py", "import os\nos._exit(3)\n")
    program.start()
    wait_until(lambda: len(program.bodies()) == 3)
    wait_until(lambda: program.words().count("did not wake") == 3)
    program.save("product.py", PRODUCT.format("2"))
    program.serves("2")
    assert len(program.bodies()) == 4


def test_a_first_start_with_a_broken_tree_shows_the_error_until_it_is_mended(
    program: Program,
) -> None:
    """K4: the parent answers itself, in plain text."""
    program.save("product.py", 'raise RuntimeError("<b>broken</b>")\n')
    program.start()
    page = wait_until(program.page)
    assert page.status_code == 503
    assert "RuntimeError: <b>broken</b>" in page.text
    assert page.headers["content-type"] == "text/plain; charset=utf-8"
    assert page.headers["refresh"] == "2"
    program.save("product.py", "def f(:\n")
    wait_until(lambda: "SyntaxError" in program.page().text)
    program.save("product.py", PRODUCT.format("2"))
    program.serves("2")
    assert program.words().count("ready http") == 1


def test_a_busy_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError):
        supervisor.Parent(["false"], tmp_path, print, print).serve(*taken.getsockname())


def test_hostile_source_is_an_error_and_not_a_crash(program: Program) -> None:
    """K2: what kills or confuses a parser is refused by the parent, which lives on."""
    first = program.start().serves("1")
    texts = [
        "(" * 3000,
        "[" * 100_000,
        "-" * 50_000 + "1",
        "lambda: " * 5000 + "1",
        "a\0b",
        "\ud800",
    ]
    for number, text in enumerate(texts):
        path = program.root / f"p{number}.py"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        told = wait_until(lambda n=number: program.failures()[n:])
        assert [each["stage"] for each in told] == ["syntax"]
        path.unlink()
    assert program.get()["pid"] == first["pid"]
    assert len(program.bodies()) == 1


def test_supervisor_imports_only_the_standard_library_and_all_of_it_up_front() -> None:
    for path in (HOUSE / "supervisor").glob("*.py"):
        module = ast.parse(path.read_text())
        found = [n for n in ast.walk(module) if isinstance(n, ast.Import | ast.ImportFrom)]
        assert all(node in module.body for node in found), path
        for node in found:
            names = (
                [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            )
            roots = {str(name).partition(".")[0] for name in names}
            assert roots <= {*sys.stdlib_module_names, "supervisor"}, path
