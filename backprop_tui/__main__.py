"""python -m backprop_tui, and the console script."""

from __future__ import annotations

import sys


def main() -> None:
    """Import the command line and run it; ctrl+c is quiet even while it is being imported."""
    try:
        from backprop_tui.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
