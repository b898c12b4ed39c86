"""W3C trace context: which trace a request belongs to. https://www.w3.org/TR/trace-context/#traceparent-header"""

from __future__ import annotations

import re

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")
_MAX_LENGTH = 512


def valid_traceparent(sent: str | None) -> str | None:
    """What was sent if it is well-formed, else None: by the recommendation, a broken one is ignored, not refused.

    Versions after the first may have more fields.
    """
    if sent is None or len(sent) > _MAX_LENGTH:
        return None
    match = _TRACEPARENT.fullmatch(sent)
    if match is None or (match[1] == "00" and match[2] is not None):
        return None
    return sent
