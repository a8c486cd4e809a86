"""table.py - the rows of tests/HOSTILE.md.  As a program: FILE..., such rows, to the page on stdout."""
import re
import sys

LIMITS = r"Max-[A-Z][\w-]+|Client-Timeout|Resource-Max-Size"
HEAD = """# Hostile inputs, and what comes of each

Each is sent to the real programs by tests/e2e/hostile_table.bats, which compares this page with what came of it; `make hostile-table` writes it anew.
*Limit* is the key of the configuration that refuses, or *fixed*.  What is not said to be committed changed nothing.

| kind | input | what takes it | outcome | limit |
|---|---|---|---|---|
"""


def row(kind, sent, takes, outcome):
    outcome = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", "ID", outcome)
    outcome = re.sub(r"(\w+(%00)?)\1{9,}", r"\1", outcome)
    outcome = "".join(c if " " <= c <= "~" else "?" for c in outcome).replace("|", "\\|")
    key = re.search(LIMITS, outcome)
    limit = key[0] if key else "fixed" if re.search(r"^413|\bover \d", outcome) else ""
    print(kind, sent, takes, outcome, limit, sep="\t", flush=True)


if __name__ == "__main__":
    print(HEAD, end="")
    for name in sys.argv[1:]:
        with open(name) as file:
            for line in file:
                print("| " + " | ".join(line.rstrip("\n").split("\t")) + " |")
