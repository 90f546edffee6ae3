"""Greets each name in its input: an example of how a function reads inputData."""

import json
import os
from pathlib import Path


def main() -> None:
    # The variable has a path that the code can open, for inputs of all sizes.
    data = json.loads(Path(os.environ["FUNCTION_INPUT"]).read_text(encoding="utf-8"))
    text = "".join(f"Hello, {name}!\n" for name in data["names"])
    print(text, end="")
    # Files in output/ at the end of the code are at GET /runs/ID/outputs/NAME.
    Path("output").mkdir(exist_ok=True)
    Path("output/greetings.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
