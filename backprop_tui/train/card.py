"""The README beside trained weights: what they are, and how to load them without this tool."""

from __future__ import annotations

from pathlib import Path

from backprop_tui.core.redact import redact
from backprop_tui.core.runfile import RunFile

TEMPLATE = """# {method} {kind} for {model}

Trained with backprop-tui on {data}. The run file beside this folder (`../run.toml`) holds every
setting, the versions and the hashes; `../events.jsonl` holds every step and evaluation.

```python
from {package} import {loader}
from transformers import AutoTokenizer

model = {loader}.from_pretrained("{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")
```
{base}"""


def write_card(folder: Path, run: RunFile) -> None:
    """Replace the empty form that PEFT leaves."""
    lora = run.lora is not None
    base = (
        f"\nThe adapter needs its base model, `{run.model.id}`; where that lies elsewhere, change\n"
        "`base_model_name_or_path` in adapter_config.json.\n"
    )
    text = TEMPLATE.format(
        method=run.method,
        kind="adapter" if lora else "model",
        model=run.model.id,
        data=redact(run.data.path),
        package="peft" if lora else "transformers",
        loader="AutoPeftModelForCausalLM" if lora else "AutoModelForCausalLM",
        folder=folder.name,
        base=base if lora else "",
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
