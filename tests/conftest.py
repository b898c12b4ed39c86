"""What `@pytest.mark.cuda` means: the test is skipped without a GPU, and cannot be where FAIL_WITHOUT_CUDA=1."""

from __future__ import annotations

import os

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") is None:
        return
    import torch

    if torch.cuda.is_available():
        return
    if os.environ.get("FAIL_WITHOUT_CUDA") == "1":
        pytest.fail("FAIL_WITHOUT_CUDA=1, and torch sees no GPU")
    pytest.skip("needs a GPU")
