"""Run `cnnlab` in real processes, without two seconds of imports for each.

A server process imports everything and then forks once per line that it is sent. A line is JSON:
`{"arguments": [...], "folder": ..., "stdout": ..., "stderr": ..., "ignored": [signals]}`
or `{"wait": process id}`.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def end_with_parent() -> None:
    """Have this process killed when its parent ends, whatever ends it (Linux; else nothing)."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def preload() -> None:
    """Import what a run imports, but start no thread: a fork has only the main thread."""
    import hydra.main  # noqa: F401
    import torch
    import torch._dynamo  # imported by the first optimizer

    import cnnlab.tasks.train.command  # noqa: F401

    torch.set_num_threads(1)


def run_child(order: dict[str, Any]) -> None:
    """Run `cnnlab ARGUMENTS` in a folder, with stdout and stderr in files, and exit."""
    from cnnlab.cli import main

    end_with_parent()
    os.setsid()
    os.chdir(order["folder"])
    for number in order["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    for descriptor, path in ((1, order["stdout"]), (2, order["stderr"])):
        if descriptor == 2 and path == order["stdout"]:
            os.dup2(1, 2)
        else:
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = ["cnnlab", *order["arguments"]]
    code = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


def serve() -> None:
    """Answer each order with the child's process id, and `wait` with its exit code."""
    preload()
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        number = os.fork()
        if number == 0:
            run_child(order)
        print(number, flush=True)


class Forks:
    """Starts and awaits the children of a server process."""

    def __init__(self) -> None:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            text=True,
            preexec_fn=end_with_parent,
            **pipes,
        )
        assert self.process.stdout and self.process.stdout.readline() == "ready\n"

    def ask(self, order: dict[str, Any]) -> int:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(
        self,
        folder: Path,
        *arguments: str,
        stdout: str = "log.txt",
        stderr: str = "log.txt",
        ignored: tuple[int, ...] = (),
    ) -> int:
        """Start `cnnlab ARGUMENTS` in a folder; return its process id, also its group's."""
        folder.mkdir(exist_ok=True)
        streams = {"stdout": stdout, "stderr": stderr, "ignored": ignored}
        return self.ask({"arguments": arguments, "folder": str(folder), **streams})

    def wait(self, number: int) -> int:
        """Wait for a child; return its exit code, or minus the signal that ended it."""
        return self.ask({"wait": number})

    def run(self, folder: Path, *arguments: str) -> tuple[int, str]:
        code = self.wait(self.start(folder, *arguments))
        return code, (folder / "log.txt").read_text()


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    serve()
