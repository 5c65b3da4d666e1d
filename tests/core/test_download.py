"""A server on this machine that breaks off, corrupts, stalls and refuses."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from cnnlab.core import download
from cnnlab.core.download import CorruptDownload, fetch
from cnnlab.core.errors import CnnlabError, WriteFailed

BLOB = hashlib.sha512(b"seed").digest() * 50_000  # 3.2 MB
ROOT = Path(__file__).resolve().parents[2]


class Faulty(BaseHTTPRequestHandler):
    """/<fault>/data: BLOB, by a server with that fault."""

    protocol_version = "HTTP/1.0"
    asked: ClassVar[Counter[str]] = Counter()
    lock = threading.Lock()

    def do_GET(self) -> None:
        fault = self.path.split("/")[1]
        with self.lock:
            self.asked[fault] += 1
            nth = self.asked[fault]
        if fault in ("gone", "broken"):
            self.send_error(404 if fault == "gone" else 503)
            return
        start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if fault != "rangeless" else 0
        if start > len(BLOB):
            self.send_error(416)
            return
        blob = (
            bytes(len(BLOB))
            if fault == "corrupt" or (fault == "corrupt-once" and nth == 1)
            else BLOB
        )
        blob = blob[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BLOB) - 1}/{len(BLOB)}")
        if fault != "endless":
            self.send_header(
                "Content-Length", str(len(BLOB) * 1000 if fault == "huge" else len(blob))
            )
        self.end_headers()
        with suppress(OSError):  # the client has gone
            self.pour(fault, nth, blob)

    def pour(self, fault: str, nth: int, blob: bytes) -> None:
        if fault in ("truncate", "corrupt-once", "rangeless") and nth < 3:
            blob = blob[: len(blob) // 2]
        if fault in ("stall", "stall-once") and (fault == "stall" or nth == 1):
            self.wfile.write(blob[:100_000])
            self.wfile.flush()
            time.sleep(1)
        elif fault == "trickle":
            for at in range(30):
                self.wfile.write(blob[at : at + 1])
                time.sleep(0.1)
        elif fault == "slow":
            for at in range(0, len(blob), 1 << 19):
                self.wfile.write(blob[at : at + (1 << 19)])
                time.sleep(0.1)
        else:
            while True:
                self.wfile.write(blob)
                if fault != "endless":
                    break

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Faulty.asked.clear()
    made = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def unpack(part: Path) -> None:
    if part.read_bytes() != BLOB:
        raise CorruptDownload("its checksum is not the published one")
    (part.parent / "whole").write_bytes(part.read_bytes())


def get(folder: Path, *addresses: str, timeout_s: float = 0.25, most: int = 4_000_000) -> None:
    fetch("data", addresses, folder, ["whole"], unpack, max_bytes=most, timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        ("good", 1),
        ("truncate", 3),
        ("rangeless", 3),
        ("stall-once", 2),
        ("corrupt-once", 4),
        ("slow", 1),
    ],
)
def test_what_comes_in_the_end_is_whole(
    server: str, tmp_path: Path, fault: str, requests: int
) -> None:
    """Broken off twice, with and without ranges; stalled; corrupt at first, and so begun again."""
    get(tmp_path / "a" / "b", f"{server}/{fault}")
    assert (tmp_path / "a" / "b" / "whole").read_bytes() == BLOB
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["whole"]
    assert Faulty.asked[fault] == requests


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("gone", "127.0.0.1: HTTP Error 404: Not Found"), ("broken", "127.0.0.1: HTTP Error 503: Service Unavailable"),
        ("corrupt", "its checksum is not the published one"), ("stall", "timed out"),
        ("trickle", r"(only \d+ bytes in 0.25 s|broke off)"), ("huge", "3,200,000,000 bytes, where at most 4,000,000"),
        ("endless", "more than 4,000,000 bytes, and no end"),
    ],
)  # fmt: skip
def test_the_next_address_is_tried_and_what_the_last_said_is_told(
    server: str, tmp_path: Path, fault: str, message: str
) -> None:
    get(tmp_path, f"{server}/{fault}", f"{server}/good")
    assert (tmp_path / "whole").read_bytes() == BLOB and Faulty.asked["good"] <= 2
    (tmp_path / "whole").unlink()
    with pytest.raises(CnnlabError, match=message) as error:
        get(tmp_path, f"{server}/{fault}")
    assert len(str(error.value).splitlines()) == 1 and not (tmp_path / "whole").exists()
    assert Faulty.asked[fault] <= 2 * download.MAX_FAILED_ATTEMPTS


def test_a_process_that_was_killed_is_gone_on_from(server: str, tmp_path: Path) -> None:
    (tmp_path / ".data.part").write_bytes(BLOB[:1_000_000])
    get(tmp_path, f"{server}/slow")
    assert (tmp_path / "whole").read_bytes() == BLOB and Faulty.asked == {"slow": 1}
    for left in (b"something else", BLOB + b"more"):
        (tmp_path / "whole").unlink()
        (tmp_path / ".data.part").write_bytes(left)
        get(tmp_path, f"{server}/good")
        assert (tmp_path / "whole").read_bytes() == BLOB


def test_four_processes_fetch_once(server: str, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from tests.core.test_download import get\n"
    code += "get(Path(sys.argv[1]), sys.argv[2])"
    words = [sys.executable, "-c", code, str(tmp_path), f"{server}/slow"]
    clients = [
        subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    said = [client.communicate(timeout=60)[1] for client in clients]
    assert [client.returncode for client in clients] == [0] * 4, said
    assert (tmp_path / "whole").read_bytes() == BLOB and Faulty.asked == {"slow": 1}
    lines = [line for text in said for line in text.splitlines()]
    assert all(
        line.startswith(("downloading http", "another process downloads")) for line in lines
    ), lines
    assert sum("downloading http" in text for text in said) == 1


def test_four_clients_at_once_are_served_each_its_own(server: str, tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=get, args=(tmp_path / str(i), f"{server}/slow")) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((tmp_path / str(i) / "whole").read_bytes() == BLOB for i in range(4))


def test_the_mirror_comes_first_and_offline_nothing_is_asked(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNLAB_MIRROR", f"{server}/good/")
    get(tmp_path, f"{server}/gone")
    assert Faulty.asked == {"good": 1}
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    get(tmp_path, f"{server}/gone")
    with pytest.raises(CnnlabError, match="CNNLAB_OFFLINE is set"):
        get(tmp_path / "other", f"{server}/good")
    assert Faulty.asked == {"good": 1}


def test_nobody_there_is_said(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(CnnlabError, match=r"127\.0\.0\.1: Connection refused"):
        get(tmp_path, f"http://127.0.0.1:{port}")
    with pytest.raises(CnnlabError, match="nowhere"):
        get(tmp_path, "nowhere")


def test_a_disk_that_refuses_is_named(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteFailed, match=r"cannot write .*file"):
        get(tmp_path / "file" / "x", f"{server}/good")
    if os.geteuid():
        tmp_path.chmod(0o555)
        with pytest.raises(WriteFailed, match="Permission denied"):
            get(tmp_path, f"{server}/good")
        tmp_path.chmod(0o755)
