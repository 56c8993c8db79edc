"""Runs a function of ours in a child process with limits: hostile source can crash libcst or keep
it busy for minutes. Knows nothing of what it runs."""

import importlib
import json
import resource
import subprocess
import sys
from pathlib import Path

from shapes import WorkbenchError

MEMORY_BYTES = 2_000_000_000
ROOT = Path(__file__).resolve().parent.parent


def call(target: str, payload: object, timeout_s: int = 20) -> object:
    """Call `target` ("package.module:function") with a JSON value; returns its JSON result, or
    raises its WorkbenchError. A crash or a timeout is one."""
    command = [sys.executable, "-m", "patches.child", target]
    data = json.dumps(payload).encode()
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=timeout_s, cwd=ROOT)
        answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        message = f"This source crashed its reader, or took longer than {timeout_s} s."
        answer = {"error": [message, "Send a smaller edit, or name a smaller folder."]}
    if "error" in answer:
        raise WorkbenchError(*answer["error"])
    return answer["result"]


def _main(target: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    module, _, name = target.partition(":")
    try:
        answer = {"result": getattr(importlib.import_module(module), name)(json.load(sys.stdin))}
    except WorkbenchError as error:
        answer = {"error": [error.message, error.hint]}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    _main(sys.argv[1])
