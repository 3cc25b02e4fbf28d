"""A machine with the cards a test wants: the real pynvml on a stub libnvidia-ml.so.1.

The stub is tests/probe/nvml_stub.c; its variants are explained there. pynvml loads the library
by name and once per process, so a test starts a process with the environment from `build_stub`.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Literal

Variant = Literal[
    "one16", "one12", "two", "busy9", "shared", "mig", "old", "nocards", "initfail", "none"
]
SOURCE = Path(__file__).parent / "probe" / "nvml_stub.c"
LIBRARY = "libnvidia-ml.so.1"


def build_stub(folder: Path, variant: Variant, *, live: bool = False) -> dict[str, str]:
    """The environment of a process that meets `variant`; the library is compiled into `folder`.

    "old" is a build that lacks newer functions. "none" is a machine without a driver, also when
    this one has a driver. live: readings move with the clock, for a monitor to show.
    """
    build = folder / {"old": "nvml-old", "none": "nvml-none"}.get(variant, "nvml")
    library = build / LIBRARY
    if not library.exists():
        build.mkdir(parents=True, exist_ok=True)
        if variant == "none":
            library.touch()  # no library at all: the loader stops here and fails
        else:
            _compile(library, *(["-DOLD_DRIVER"] if variant == "old" else []))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NVML_STUB")}
    path = [str(build), *filter(None, [environment.get("LD_LIBRARY_PATH")])]
    environment |= {"LD_LIBRARY_PATH": os.pathsep.join(path), "NVML_STUB": variant}
    if live:
        environment["NVML_STUB_LIVE"] = "1"
    return environment


def _compile(library: Path, *flags: str) -> None:
    # Under a name of its own, then renamed: parallel tests may share the folder.
    unfinished = library.with_suffix(f".{os.getpid()}")
    command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", *flags]
    subprocess.run([*command, "-o", str(unfinished), str(SOURCE), "-lm"], check=True)
    unfinished.replace(library)
