"""Greets everyone in its input: shows how a function that is called over HTTP reads inputData."""

import json
import os
from pathlib import Path


def main() -> None:
    # A path that can be opened, however large the input is.
    data = json.loads(Path(os.environ["FUNCTION_INPUT"]).read_text(encoding="utf-8"))
    text = "".join(f"Hello, {name}!\n" for name in data["names"])
    print(text, end="")
    # Whatever lies in output/ when the code ends is to be had at GET /runs/ID/outputs/NAME.
    Path("output").mkdir(exist_ok=True)
    Path("output/greetings.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
