"""`python -m backprop_tui.cli.with_parent PID …`: the program, as a child that ends with process
PID: see runs/with_parent.py."""

from __future__ import annotations

import sys

from backprop_tui.cli import main
from backprop_tui.runs.with_parent import end_with_parent

if __name__ == "__main__":
    end_with_parent(int(sys.argv.pop(1)))
    main()
