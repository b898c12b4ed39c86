"""The command line. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done, 1 a defect of ours (with its traceback), 2 something was asked that cannot be done (one line says
what and how to mend it), 130 interrupted, 141 nobody reads the output any more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from deepplan.cli.parser import parse
from deepplan.errors import DeepPlanError

MISUSE, INTERRUPTED, BROKEN_PIPE = 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `deepplan` with these arguments (default: the process's own) and returns its exit code."""
    try:
        command, parsed = parse(arguments)
        code = command(parsed)
        sys.stdout.flush()
        return code
    except DeepPlanError as error:
        print(f"deepplan: error: {' '.join(str(error).split())}", file=sys.stderr)
        return MISUSE
    except KeyboardInterrupt:
        print("deepplan: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
