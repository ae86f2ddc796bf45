"""`train.precision: auto` on processors that this machine may not be."""

from __future__ import annotations

import pytest
import torch

from detector.model.precision import resolve_precision

CPU = torch.device("cpu")
AMX = {"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True, "amx_bf16": True}
AVX512_BF16 = {"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True}
AVX512 = {"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}
AVX2 = {"architecture": "x86_64", "avx2": True}
GRAVITON3, GRAVITON2 = {"architecture": "aarch64", "bf16": True}, {"architecture": "aarch64", "bf16": False}


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A processor whose answers a test sets, with no limits in the environment."""
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def answer(processor: pytest.MonkeyPatch, capabilities: dict[str, object], aten: str = "AVX512") -> None:
    processor.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    processor.setattr(torch.backends.cpu, "get_cpu_capability", lambda: aten)


@pytest.mark.parametrize(
    ("capabilities", "aten", "expected"),
    [
        (AMX, "AVX512", "bf16"),
        (AVX512_BF16, "AVX512", "bf16"),
        (AVX512, "AVX512", "fp32"),  # bfloat16 would be emulated
        (AVX2, "AVX2", "fp32"),
        (AVX512_BF16, "AVX2", "fp32"),  # as ATEN_CPU_CAPABILITY=avx2 makes torch answer
        (GRAVITON3, "DEFAULT", "bf16"),
        (GRAVITON2, "DEFAULT", "fp32"),
        ({}, "DEFAULT", "fp32"),
    ],
)
def test_auto_is_bf16_only_where_the_processor_computes_it(
    processor: pytest.MonkeyPatch, capabilities: dict[str, object], aten: str, expected: str
) -> None:
    answer(processor, capabilities, aten)
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("AVX2", "fp32"),
        ("AVX512_CORE", "fp32"),
        ("AVX512_CORE_VNNI", "fp32"),
        ("AVX512_CORE_BF16", "bf16"),
        ("avx512_core_amx", "bf16"),
        ("DEFAULT", "bf16"),
    ],
)
def test_a_limit_of_onednn_is_respected(processor: pytest.MonkeyPatch, limit: str, expected: str) -> None:
    answer(processor, AMX)
    processor.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize("supported", [True, False])
def test_auto_on_a_gpu_asks_the_gpu(processor: pytest.MonkeyPatch, supported: bool) -> None:
    answer(processor, AVX2, "AVX2")
    processor.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert resolve_precision("auto", torch.device("cuda")) == ("bf16" if supported else "fp32")


def test_a_stated_precision_is_taken_as_it_is(processor: pytest.MonkeyPatch) -> None:
    answer(processor, AVX2, "AVX2")
    assert resolve_precision("bf16", CPU) == "bf16" and resolve_precision("fp32", CPU) == "fp32"


def test_torch_still_answers_the_question_that_is_asked() -> None:
    assert "architecture" in torch.cpu.get_capabilities()
