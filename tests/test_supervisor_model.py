"""The supervisor against a model, with a failure of every kind at every step. Rows K1-K4, J11."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import httpx
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.running import free_port, wait_until
from tests.test_supervisor_parent import HOUSE, alive

PARENT = """
import sys
from pathlib import Path
import supervisor
from supervisor import parent

parent.POLL_S, parent.RETRY_S, parent.PULSE_S = 0.05, 0.05, 0.2
root, port = Path(sys.argv[1]), int(sys.argv[2])
product, good = root / "product.py", root.parent / "good"

def rescue():
    if not good.exists() or good.read_text() == product.read_text():
        return ""
    product.write_text(good.read_text())
    return "rescued"

supervisor.Parent(
    [sys.executable, "-S", "main.py"], root, lambda url: print("ready", flush=True),
    lambda words: print(words, flush=True), lambda: good.write_text(product.read_text()) and "",
    rescue, boot_s=1.5, proof_s=0.3).serve("127.0.0.1", port)
"""
BODY = """
import asyncio, json, os, socket, sys
with open("../boots", "a") as log:
    print(os.getpid(), file=log)
import product
listen_fd, control_fd = map(int, sys.argv[-2:])

async def answer(reader, writer):
    asked = await reader.readuntil(b"\\r\\n\\r\\n")
    status, text = 200, str(product.VERSION)
    if b"/healthz" in asked:
        status = product.health()
    writer.write(f"HTTP/1.0 {status} x\\r\\n\\r\\n{text}".encode())
    await writer.drain()
    writer.close()

async def main():
    private = await asyncio.start_server(answer, "127.0.0.1", 0)
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=control_fd))
    def tell(**message):
        writer.write(json.dumps(message).encode() + b"\\n")
    tell(ready=private.sockets[0].getsockname()[1])
    public = None
    while line := await reader.readline():
        message = json.loads(line)
        if "go" in message:
            public = await asyncio.start_server(
                answer, sock=socket.socket(fileno=os.dup(listen_fd)))
            product.live()
            tell(live=True)
        elif "drain" in message:
            public.close()

asyncio.run(main())
"""
GOOD = """
VERSION = {}
def health(): return 200
def live(): pass
"""
BAD = {  # how a version fails, and what becomes of it
    "syntax": "def f(:",
    "import": "import nowhere_to_be_found",
    "exit": "import os; os._exit(3)",
    "loop": "while True: pass",
    "kill": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "unhealthy": GOOD.format(-1) + "def health(): return 500",
    "late": GOOD.format(-1) + "def live(): raise SystemExit(1)",
    "mute": GOOD.format(-1) + "import time\ndef live(): time.sleep(1000)",
    "socket": GOOD.format(-1) + "import os, sys\nos.close(int(sys.argv[-2]))",
    "control": GOOD.format(-1) + "import os, sys\nos.close(int(sys.argv[-1]))",
    "spawn": "",  # main.py is gone
}
FATAL_LATER = {  # they serve, and then fail
    "dies": "import asyncio, os\n"
    "def live(): asyncio.get_running_loop().call_later(0.1, os._exit, 1)",
    "lies": "import time\nborn = time.monotonic()\n"
    "def health(): return 200 if time.monotonic() < lived else 500\nlived = 1e99\n"
    "def live():\n    global lived\n    lived = time.monotonic() + 0.05",
    "hangs": "import asyncio, time\n"
    "def live(): asyncio.get_running_loop().call_later(0.1, time.sleep, 1000)",
}


class Supervised(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.place = Path(self.folder.name)
        self.root = self.place / "src"
        self.root.mkdir()
        self.port, self.version, self.good = free_port(), 1, {1}
        self.write("main.py", BODY)
        self.write("product.py", GOOD.format(1))
        self.start()
        wait_until(lambda: self.served() == 1, "the first version")

    def write(self, name: str, text: str) -> None:
        fresh = self.place / "fresh"
        fresh.write_text(text)
        fresh.replace(self.root / name)

    def start(self) -> None:
        self.said = (self.place / "said").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(self.root), str(self.port)],
            cwd=HOUSE, stdout=self.said, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def served(self) -> int | None:
        with suppress(httpx.HTTPError):
            page = httpx.get(f"http://127.0.0.1:{self.port}", timeout=1, trust_env=False)
            return int(page.text) if page.status_code == 200 else None

    def count(self, *words: str) -> int:
        text = (self.place / "said").read_text()
        return sum(text.count(each) for each in words)

    def bodies(self) -> list[int]:
        return [int(pid) for pid in (self.place / "boots").read_text().split()]

    @rule()
    def save_a_good_one(self) -> None:
        self.version += 1
        self.good.add(self.version)
        self.write("product.py", GOOD.format(self.version))
        wait_until(lambda: self.served() == self.version, f"version {self.version}")

    @rule(kind=st.sampled_from([*BAD, *FATAL_LATER]))
    def save_a_bad_one(self, kind: str) -> None:
        """What serves goes on."""
        before = self.served()
        failures = "did not wake", "The body is gone"
        seen = self.count(*failures)
        if kind == "spawn":
            (self.root / "main.py").unlink()
        elif kind in BAD:
            self.write("product.py", BAD[kind] + f"\n# {self.version}")
        else:
            self.write("product.py", GOOD.format(-1) + FATAL_LATER[kind])
        wait_until(lambda: self.count(*failures) > seen, f"{kind} to fail")
        wait_until(lambda: self.served() == before, f"{before} after {kind}")
        if kind == "spawn":
            self.write("main.py", BODY)
        self.save_a_good_one()

    @rule()
    def kill_what_serves(self) -> None:
        pid = [pid for pid in self.bodies() if alive(pid)][-1]
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    @rule(bad=st.sampled_from(["", "import", "syntax", "unhealthy"]), stolen=st.booleans())
    def kill_the_parent(self, bad: str, stolen: bool) -> None:
        """The next start serves what is there, or what was proven last."""
        wait_until((self.place / "good").exists, "a proof")
        self.process.kill()
        self.process.wait()
        wait_until(lambda: not any(map(alive, self.bodies())), "the bodies to leave")
        if bad:
            self.write("product.py", BAD[bad])
        if stolen:
            with socket.create_server(("127.0.0.1", self.port)):
                self.start()
                assert self.process.wait(20) != 0
        self.start()

    @rule()
    def fill_the_disk(self) -> None:
        """Byte code can no longer be written."""
        self.version += 1
        seen = self.count("did not wake")
        cache = self.root / "__pycache__"
        subprocess.run(["rm", "-rf", str(cache)], check=True)
        cache.write_text("")
        self.write("product.py", GOOD.format(self.version))
        self.good.add(self.version)
        wait_until(lambda: self.count("did not wake") > seen, "it to fail")
        cache.unlink()
        self.save_a_good_one()

    @precondition(lambda self: self.process.poll() is None)
    @rule()
    def save_many(self) -> None:
        for _ in range(3):
            self.version += 1
            self.good.add(self.version)
            self.write("product.py", GOOD.format(self.version))
        wait_until(lambda: self.served() == self.version, "the last one")

    @invariant()
    def a_good_version_serves(self) -> None:
        wait_until(lambda: self.served() in self.good, "a good version")

    def teardown(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0
        assert not any(map(alive, self.bodies())), "a stop leaves no process"
        self.said.close()
        self.folder.cleanup()


TestSupervised = Supervised.TestCase
TestSupervised.settings = settings(
    max_examples=6, stateful_step_count=6, deadline=None, database=None, phases=[Phase.generate]
)  # one example takes seconds: none is tried again to make it smaller
