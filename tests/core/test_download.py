"""A server on this machine that breaks connections, corrupts, stalls and refuses."""

import hashlib
import os
import socket
import stat
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


class FaultyHandler(BaseHTTPRequestHandler):
    """/<fault>/data: BLOB, by a server with that fault."""

    protocol_version = "HTTP/1.0"
    requests: ClassVar[Counter[str]] = Counter()
    lock = threading.Lock()

    def do_GET(self) -> None:
        fault = self.path.split("/")[1]
        with self.lock:
            self.requests[fault] += 1
            attempt = self.requests[fault]
        if fault in ("gone", "broken"):
            self.send_error(404 if fault == "gone" else 503)
            return
        if fault == "slow-header":
            self.drip_header()
            return
        self.send_response(200)
        if fault != "endless":
            length = len(BLOB) * (1000 if fault == "huge" else 1)
            self.send_header("Content-Length", str(length))
        self.end_headers()
        with suppress(OSError):  # the client has gone
            self.send_blob(fault, attempt, bytes(len(BLOB)) if fault == "corrupt" else BLOB)

    def drip_header(self) -> None:
        """Send a header that never ends, a byte at a time."""
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
            for _ in range(100):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)

    def send_blob(self, fault: str, attempt: int, blob: bytes) -> None:
        if fault == "truncate-always" or (fault == "truncate" and attempt < 3):
            self.wfile.write(blob[: len(blob) // 2])
        elif fault == "stall" or (fault == "stall-once" and attempt == 1):
            self.wfile.write(blob[:100_000])
            self.wfile.flush()
            time.sleep(1)
        elif fault == "slow":
            for start in range(0, len(blob), 1 << 19):
                self.wfile.write(blob[start : start + (1 << 19)])
                time.sleep(0.1)
        else:
            self.wfile.write(blob)
            while fault == "endless":
                self.wfile.write(blob)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("CNNLAB_OFFLINE", raising=False)
    FaultyHandler.requests.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), FaultyHandler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetch_data(folder: Path, *addresses: str, **options: str) -> None:
    def unpack(downloaded: Path) -> None:
        if downloaded.read_bytes() != BLOB:
            raise CorruptDownload("its checksum is not the published one")
        (folder / "whole").write_bytes(downloaded.read_bytes())

    fetch(
        "data",
        addresses,
        folder,
        ["whole"],
        unpack,
        max_bytes=4_000_000,
        timeout_s=0.25,
        known_hash=options.get("known_hash"),
    )


def list_files(folder: Path) -> list[str]:
    """The files that a listing of the folder shows."""
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


@pytest.mark.parametrize(
    ("fault", "requests"), [("good", 1), ("truncate", 3), ("stall-once", 2), ("slow", 1)]
)
def test_the_download_is_complete(server: str, tmp_path: Path, fault: str, requests: int) -> None:
    folder = tmp_path / "a" / "b"
    fetch_data(folder, f"{server}/{fault}")
    assert (folder / "whole").read_bytes() == BLOB
    assert [path.name for path in folder.iterdir()] == ["whole"]
    assert FaultyHandler.requests[fault] == requests


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("gone", "127.0.0.1: 404 Client Error: Not Found"),
        ("broken", "127.0.0.1: 503 Server Error: Service Unavailable"),
        ("corrupt", "127.0.0.1: its checksum is not the published one"),
        ("stall", "127.0.0.1: timed out"),
        ("truncate-always", r"127.0.0.1: IncompleteRead\(1600000 bytes read"),
        ("huge", "3,200,000,000 bytes, where at most 4,000,000 are expected"),
        ("endless", "more than 4,000,000 bytes"),
    ],
)
def test_a_failed_address_is_named_and_the_next_one_used(
    server: str, tmp_path: Path, fault: str, message: str
) -> None:
    fetch_data(tmp_path, f"{server}/{fault}", f"{server}/good")
    assert (tmp_path / "whole").read_bytes() == BLOB and FaultyHandler.requests["good"] == 1
    (tmp_path / "whole").unlink()
    with pytest.raises(CnnlabError, match=message) as error:
        fetch_data(tmp_path, f"{server}/{fault}")
    assert len(str(error.value).splitlines()) == 1 and not list_files(tmp_path)
    assert FaultyHandler.requests[fault] <= 2 * download.MAX_ATTEMPTS


@pytest.mark.slow
def test_a_header_sent_byte_by_byte_is_not_awaited_for_ever(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "RESPONSE_TIMEOUT_S", 0.5)
    start = time.monotonic()
    with pytest.raises(CnnlabError, match=r"127\.0\.0\.1: no complete response in 0.5 seconds"):
        fetch_data(tmp_path, f"{server}/slow-header")
    assert time.monotonic() - start < 3 and FaultyHandler.requests == {"slow-header": 1}
    fetch_data(tmp_path, f"{server}/slow-header", f"{server}/slow")  # comes slowly, but comes
    assert (tmp_path / "whole").read_bytes() == BLOB


def test_a_link_in_place_of_the_scratch_folder_is_not_followed(server: str, tmp_path: Path) -> None:
    target, folder = tmp_path / "target", tmp_path / "data"
    target.mkdir()
    folder.mkdir()
    for name in ("file", ".download.lock", "data"):
        (target / name).write_text("mine")
    (folder / download.SCRATCH_NAME).symlink_to(target)
    (folder / ".download.lock").symlink_to(target / ".download.lock")
    fetch_data(folder, f"{server}/good")
    assert (folder / "whole").read_bytes() == BLOB
    assert all(path.read_text() == "mine" for path in target.iterdir())
    assert len(list(target.iterdir())) == 3


def test_one_error_names_every_address(server: str, tmp_path: Path) -> None:
    with pytest.raises(CnnlabError, match=r"404 Client .*; 127\.0\.0\.1: 503 Server .*; nowhere"):
        fetch_data(tmp_path, f"{server}/gone", f"{server}/broken", "nowhere")


def test_a_published_checksum_is_verified(server: str, tmp_path: Path) -> None:
    fetch_data(tmp_path / "a", f"{server}/good", known_hash=f"md5:{hashlib.md5(BLOB).hexdigest()}")
    with pytest.raises(CnnlabError, match="does not match the known hash"):
        fetch_data(tmp_path / "b", f"{server}/good", known_hash=f"md5:{'0' * 32}")
    assert list_files(tmp_path / "b") == []


def test_leftovers_of_a_killed_process_are_removed(server: str, tmp_path: Path) -> None:
    (tmp_path / download.SCRATCH_NAME).mkdir()
    (tmp_path / download.SCRATCH_NAME / "file").write_bytes(BLOB[:1_000_000])
    fetch_data(tmp_path, f"{server}/good")
    assert (tmp_path / "whole").read_bytes() == BLOB and FaultyHandler.requests == {"good": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


@pytest.mark.slow
def test_four_processes_download_once(server: str, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from tests.core.test_download import fetch_data\n"
    code += "fetch_data(Path(sys.argv[1]), sys.argv[2])"
    command = [sys.executable, "-c", code, str(tmp_path), f"{server}/slow"]
    clients = [
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    outputs = [client.communicate(timeout=60)[1] for client in clients]
    assert [client.returncode for client in clients] == [0] * 4, outputs
    assert (tmp_path / "whole").read_bytes() == BLOB and FaultyHandler.requests == {"slow": 1}
    starts = ("downloading http", "another process downloads")
    lines = [line for output in outputs for line in output.splitlines()]
    assert all(line.startswith(starts) for line in lines), lines
    assert sum("downloading http" in output for output in outputs) == 1


def test_threads_download_into_their_own_folders(server: str, tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=fetch_data, args=(tmp_path / str(i), f"{server}/slow"))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((tmp_path / str(i) / "whole").read_bytes() == BLOB for i in range(4))


def test_the_mirror_is_first_and_offline_requests_nothing(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNLAB_MIRROR", f"{server}/good/")
    fetch_data(tmp_path, f"{server}/gone")
    assert FaultyHandler.requests == {"good": 1}
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    fetch_data(tmp_path, f"{server}/gone")
    with pytest.raises(CnnlabError, match="CNNLAB_OFFLINE is set"):
        fetch_data(tmp_path / "other", f"{server}/good")
    assert FaultyHandler.requests == {"good": 1} and not (tmp_path / "other").exists()


def test_an_unreachable_address_is_named(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(CnnlabError, match=r"127\.0\.0\.1: Connection refused"):
        fetch_data(tmp_path, f"http://127.0.0.1:{port}")


def test_an_unwritable_folder_is_named(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteFailed, match=r"cannot write .*file"):
        fetch_data(tmp_path / "file" / "x", f"{server}/good")
    if os.geteuid():
        tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
        with pytest.raises(WriteFailed, match="Permission denied"):
            fetch_data(tmp_path, f"{server}/good")
        tmp_path.chmod(stat.S_IRWXU)
