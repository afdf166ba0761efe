"""Makes ``python -m fiveobs`` the same as ``fiveobs``."""

from __future__ import annotations

import sys

from fiveobs.cli import main

if __name__ == "__main__":
    sys.exit(main())
