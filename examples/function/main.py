"""Greets each name on standard input: an example of stdin, args, env and output files."""

import os
import sys
from pathlib import Path


def main() -> None:
    greeting = os.environ.get("GREETING", "Hello")
    mark = "!" if "--loud" in sys.argv[1:] else "."
    names = [line.strip() for line in sys.stdin if line.strip()]
    if not names:
        sys.exit("no names: put one on each line of the job's stdin")
    text = "".join(f"{greeting}, {name}{mark}\n" for name in names)
    print(text, end="")
    # Files in output/ at the end of the code are stored in S3 and listed in the result.
    Path("output").mkdir(exist_ok=True)
    Path("output/greetings.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
