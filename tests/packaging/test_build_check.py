"""An extension is never used with another torch than it was built against."""

from __future__ import annotations

import importlib
import sys

import pytest

from deepplan._build_check import built_with, check_build
from deepplan.errors import BuildError


def test_the_installed_build_fits_the_installed_torch() -> None:
    import torch

    check_build()
    assert built_with().torch_version == str(torch.__version__)
    assert built_with().torch_cuda == (torch.version.cuda or "none")


@pytest.mark.parametrize("other", ["2.99.0", "2.13.0+cu999"])
def test_another_torch_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    monkeypatch.setattr("torch.__version__", other)
    monkeypatch.delitem(sys.modules, "deepplan._core", raising=False)
    with pytest.raises(BuildError) as refused:
        importlib.import_module("deepplan._core")
    assert other in str(refused.value) and built_with().torch_version in str(refused.value)
    assert "pip install" in str(refused.value)


def test_a_source_folder_without_a_build_says_how_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepplan._built_with", None)
    with pytest.raises(BuildError, match="pip install"):
        built_with()
