from pathlib import Path

import pytest
import torch

from cnnlab.core import memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4GB", 4e9),
        ("1.5 GiB", 1.5 * 2**30),
        ("800M", 8e8),
        ("512kB", 512e3),
        ("4e9", 4e9),
        ("1000", 1000),
        ("2t", 2e12),
    ],
)
def test_parse_bytes(text: str, count: float) -> None:
    assert memory.parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "4 apples", "-1GB", "0", "GB", "1e99"])
def test_invalid_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="memory_limit must be like 4GB or 800MB, not"):
        memory.parse_bytes(text)


def test_format_bytes() -> None:
    assert [memory.format_bytes(count) for count in (3.24e9, 8e8, 1.2e6)] == [
        "3.2 GB",
        "800 MB",
        "1 MB",
    ]


def test_used_memory_grows_with_allocations() -> None:
    before = memory.get_used_memory(CPU)
    held = torch.ones(50_000_000)
    assert memory.get_used_memory(CPU) - before == pytest.approx(held.numel() * 4, rel=0.1)
    assert memory.get_free_memory(CPU) > 0


@pytest.mark.parametrize(
    ("own", "folder", "limit", "usage", "caches"),
    [
        ("0::/a/job\n", "a", "memory.max", "memory.current", ["inactive_file", "active_file"]),
        (
            "3:cpu:/\n4:memory:/a/job\n0::/\n",
            "memory/a",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            ["total_inactive_file", "total_active_file"],
        ),
        ("0::/\n", ".", "memory.max", "memory.current", ["inactive_file", "active_file"]),
    ],
)
def test_cgroup_limits_count_and_cached_files_do_not(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: str,
    folder: str,
    limit: str,
    usage: str,
    caches: tuple[str, str],
) -> None:
    monkeypatch.setattr(memory, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(memory, "PROCESS_CGROUPS", tmp_path / "own")
    assert memory.list_cgroup_headroom() == []
    (tmp_path / "own").write_text(own)
    place = tmp_path / folder
    place.mkdir(parents=True, exist_ok=True)
    (place / limit).write_text("max\n")
    (place / usage).write_text("300000000\n")
    (place / "memory.stat").write_text(f"anon 7\n{caches[0]} 30000000\n{caches[1]} 20000000\n")
    assert memory.list_cgroup_headroom() == []
    (place / limit).write_text("500000000\n")
    assert (
        memory.list_cgroup_headroom() == [250_000_000]
        and memory.get_free_memory(CPU) == 250_000_000
    )


def test_releasing_memory_changes_nothing() -> None:
    memory.release_cached()
