"""How much work the server has with a reply that streams, as the reply gets longer.

Runs the real program on a copy of itself with a scripted Ollama, one page connected by WebSocket,
and prints the CPU seconds of the body for replies of 1k, 4k and 16k tokens, in two shapes: prose
with many blocks, and one code block without end.
The baseline in the same run renders the whole reply again on every piece, which is what appending
to a page and calling a Markdown library amounts to. Linux only: reads /proc.

    python -m benchmarks.streaming
"""

import json
import os
import tempfile
import time
from pathlib import Path

import httpx
from websockets.sync.client import connect

from context import count
from tests.ollama_server import OllamaServer
from tests.running import Running, copy_of_ourselves
from web.markdown import Markdown

SIZES = (1_000, 4_000, 16_000)
PROSE = "## A heading\n\nSome **words** about `web/app.py:12` and what it does.\n\n- a\n- b\n\n"
CODE = "    value = compute(first, second) + 1  # a line of ordinary code\n"
PIECE_CHARS = 24
ROUNDS = 3


def reply(shape: str, tokens: int) -> str:
    unit = PROSE if shape == "prose" else CODE
    text = unit * (tokens // count(unit))
    return text if shape == "prose" else f"```python\n{text}```\n"


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(bench: Running, ollama: OllamaServer, text: str) -> tuple[float, float]:
    """(CPU seconds of the body, wall seconds) for one reply from question to the stored end."""
    with httpx.Client(base_url=bench.url, trust_env=False) as client:
        client.get("/")
        number = client.post("/discussion").headers["hx-redirect"].rpartition("/")[2]
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    ollama.say([text[i : i + PIECE_CHARS] for i in range(0, len(text), PIECE_CHARS)])
    address = bench.url.replace("http", "ws") + f"/ws?discussion={number}"
    pid = bench.body()
    with connect(address, additional_headers={"Cookie": cookie}, proxy=None, max_size=None) as ws:
        ws.recv()
        begun, before = time.monotonic(), cpu_seconds(pid)
        ws.send(json.dumps({"text": "go"}))
        while "message assistant done" not in ws.recv(timeout=300):
            pass
    return cpu_seconds(pid) - before, time.monotonic() - begun


def naive(text: str) -> float:
    """CPU seconds of rendering everything again whenever a piece comes; measured on every
    thirtieth piece and scaled, because all of them take minutes."""
    markdown, begun = Markdown("web/app.py".__eq__), time.process_time()
    for end in range(PIECE_CHARS, len(text), PIECE_CHARS * 30):
        markdown.html(text[:end])
    return (time.process_time() - begun) * 30


def main() -> None:
    print(f"{'shape':6} {'tokens':>7} {'CPU s':>8} {'wall s':>8} {'naive CPU s':>12}")
    with tempfile.TemporaryDirectory() as folder, OllamaServer() as ollama:
        home = Path(folder) / "home"
        home.mkdir()
        root = copy_of_ourselves(Path(folder) / "workbench")
        with Running(root, home, ollama.url) as bench:
            measure(bench, ollama, "warm up")
            for shape in ("prose", "code"):
                medians = []
                for size in SIZES:
                    text = reply(shape, size)
                    runs = sorted(measure(bench, ollama, text) for _ in range(ROUNDS))
                    cpu, wall = runs[ROUNDS // 2]
                    medians.append(cpu)
                    row = f"{shape:6} {count(text):7,} {cpu:8.2f} {wall:8.2f}"
                    print(f"{row} {naive(text):12.1f}", flush=True)
                print(f"{shape:6} ratio 16k/1k: {medians[-1] / medians[0]:.1f} (bar: 20)")
    print(f"medians of {ROUNDS} runs each; naive: estimate from every thirtieth piece, one run")


if __name__ == "__main__":
    main()
