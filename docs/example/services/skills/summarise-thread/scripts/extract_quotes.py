#!/usr/bin/env python3
"""Print who said what in an exported support thread, one numbered line per message.

Usage: extract_quotes.py THREAD.json
"""

import json
import re
import sys

PERSONAL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+|\+?\d[\d ()-]{7,}\d")


def first_sentence(text: str) -> str:
    """The first sentence of a message, on one line and without personal data."""
    text = " ".join(text.split())
    end = re.search(r"[.!?](\s|$)", text)
    sentence = text[: end.end()].strip() if end else text
    return PERSONAL.sub("[redacted]", sentence)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__.strip().splitlines()[-1], file=sys.stderr)
        return 2
    with open(sys.argv[1], encoding="utf-8") as thread:
        messages = json.load(thread)["messages"]
    for number, message in enumerate(messages, start=1):
        print(f"[{number}] {message['role']}: {first_sentence(message['body'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
