"""The file that describes a deployment; docs/serving.md shows one."""

from __future__ import annotations

import os
from typing import Any

from deepplan.cli.serve_settings import SETTINGS
from deepplan.cli.serve_values import model
from deepplan.cli.strict_yaml import read_yaml
from deepplan.errors import DocumentError, InvalidInputError
from deepplan.planning.records import refusal


def read_deployment_file(path: str) -> dict[str, Any]:
    """Values by key, as `deepplan.cli.serve_settings` takes them. Paths are of the file's own folder.

    Raises DocumentError, naming the file and the key.
    """
    content = read_yaml(path)
    try:
        if not isinstance(content, dict):
            raise InvalidInputError("it is no mapping of settings to values")
        return {key: _parse(key, value, os.path.dirname(path)) for key, value in content.items()}
    except InvalidInputError as error:
        raise DocumentError(f"{path}: {error}") from None


def _parse(key: str, value: Any, folder: str) -> Any:
    if key == "models":
        if not isinstance(value, list):
            raise refusal(key, value, "a list of models")
        return [model(f"{key}[{index}]", entry, folder) for index, entry in enumerate(value)]
    if key not in SETTINGS:
        raise InvalidInputError(f"unknown key {key[:80]!r}; known are models, {', '.join(SETTINGS)}")
    return SETTINGS[key].parse(key, value, folder)
