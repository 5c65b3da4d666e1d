from pathlib import Path

import pytest
import torch

from cnnlab.core import precision
from cnnlab.core.errors import UsageError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu avx512_bf16 sse\n", ["float32", "bfloat16"]),
        ("processor : 0\nFeatures\t: fp asimd bf16\n", ["float32", "bfloat16"]),
        ("processor : 0\nflags\t\t: fpu avx2 avx512_vbmi\n", ["float32"]),
        (None, ["float32"]),
    ],
)
def test_a_cpu_has_bfloat16_where_its_flags_say_so(
    info: str | None, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpuinfo"
    if info is not None:
        path.write_text(info)
    monkeypatch.setattr(precision, "Path", lambda name: path)
    monkeypatch.setattr(precision, "read_cpu_flags", precision.read_cpu_flags.__wrapped__)
    assert precision.list_fast_precisions(CPU) == expected
    assert precision.choose_eval_precision("bfloat16", CPU) == expected[-1]
    assert precision.choose_eval_precision("float16", CPU) == "float32"


def test_matmuls_are_of_the_precision_and_sums_are_float32() -> None:
    x, w = torch.randn(3, 4), torch.randn(5, 4)
    with precision.use_precision("bfloat16", CPU):
        y = torch.nn.functional.linear(x, w)
        assert y.dtype == torch.bfloat16 and (x + 1).dtype == torch.float32
    with precision.use_precision("float32", CPU):
        assert torch.equal(torch.nn.functional.linear(x, w), x @ w.T)
    torch.testing.assert_close(y.float(), x @ w.T, rtol=0.05, atol=0.05)


def test_float16_is_refused_on_a_cpu() -> None:
    precision.check_precision("bfloat16", CPU)
    with pytest.raises(UsageError) as error:
        precision.check_precision("float16", CPU)
    assert str(error.value).splitlines() == [
        "precision=float16 needs a CUDA GPU, and the device is cpu",
        "elsewhere: precision=float32, bfloat16 or auto",
    ]
