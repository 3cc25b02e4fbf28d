"""Lists to choose from."""

from __future__ import annotations

from textual.widgets import OptionList
from textual.widgets.option_list import Option


def replace_options(options: OptionList, new: list[Option], highlighted: str) -> None:
    """Put new options in place of the old, unless they are the same; keep the highlight."""
    if [(o.id, o.prompt) for o in options.options] == [(o.id, o.prompt) for o in new]:
        return
    old = options.highlighted_option
    wanted = old.id if old is not None and old.id in {o.id for o in new} else highlighted
    options.clear_options()
    options.add_options(new)
    options.highlighted = next((i for i, o in enumerate(new) if o.id == wanted), None)
