"""`python -m deepplan.cli`, for where the command is not on the path."""

from __future__ import annotations

import sys

from deepplan.cli import main

sys.exit(main())
