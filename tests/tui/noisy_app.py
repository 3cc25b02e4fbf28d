"""A screen over noise: libraries, children and print write to stdout and stderr while it runs.

python -m tests.tui.noisy_app LOG [--crash]
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from textual.app import App, ComposeResult
from textual.widgets import Static

from backprop_tui.tui.terminal import captured_output


class Noisy(App[None]):
    """Says "calm screen"; n makes noise, q quits, c crashes."""

    def compose(self) -> ComposeResult:
        yield Static("calm screen", id="text")

    def on_key(self, event: object) -> None:
        match getattr(event, "key", ""):
            case "n":
                os.write(1, b"NOISE-from-C-stdout\n")
                os.write(2, b"NOISE-from-C-stderr\n")
                subprocess.run(["sh", "-c", "echo NOISE-child; echo NOISE-child-err >&2"])
                print("NOISE-print")  # noqa: T201 - noise is what this app is for
                self.query_one("#text", Static).update("calm screen after the noise")
            case "q":
                self.exit()


def main() -> None:
    """Run under capture; with --crash an exception leaves the block."""
    try:
        with captured_output(Path(sys.argv[1])):
            Noisy().run()
            if "--crash" in sys.argv:
                raise RuntimeError("after the screen")
    except RuntimeError as error:
        sys.stdout.write(f"caught {error}\n")
    sys.stdout.write(f"stdout is back, a terminal: {sys.stdout.isatty()}\n")
    sys.stderr.write("stderr is back\n")
    sys.stdout.flush()
    os.write(1, b"fd 1 is back\n")


if __name__ == "__main__":
    main()
