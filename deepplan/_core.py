"""The compiled half of deepplan (the C++ runtime), loaded on first use.

Importing this module imports torch first, whose libraries the extension links, and refuses, with a BuildError, an
extension that was built against another torch: that would crash somewhere, later, without a word. The classes and
functions are those of `deepplan._native`; `_core.pyi` lists them.
"""

from __future__ import annotations

from deepplan._build_check import check_build as _check_build

_check_build()

from deepplan._native import *  # noqa: E402, F403
