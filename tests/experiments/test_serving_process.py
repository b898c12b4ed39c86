from __future__ import annotations

import asyncio
from pathlib import Path

import pytest


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    from serving_process import ServingProcess

    server = ServingProcess([f"--model={tmp_path / 'nothing'}", "--gpus=host:0"], tmp_path)
    with pytest.raises(RuntimeError, match=r"ended with 2: .*nothing"):
        asyncio.run(server.start())
