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
        return _refuse(str(error))
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return _refuse(f"there is not enough memory for this; try a smaller batch or model ({error})")
    except KeyboardInterrupt:
        print("deepplan: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _refuse(message: str) -> int:
    print(f"deepplan: error: {' '.join(message.split())}", file=sys.stderr)
    return MISUSE


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation of torch's failed, which says so by a class on GPUs and in words on the CPU."""
    names = {base.__name__ for base in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(error)
