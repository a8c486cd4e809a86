"""table.py - the rows of tests/HOSTILE.md.  As a program: PAGE TITLE FILE..., the page with such rows in the part of that title, to stdout."""
import re
import sys

LIMITS = r"Max-[A-Z][\w-]+|Client-Timeout|Resource-Max-Size"
HEAD = """# Hostile inputs, and what comes of each

Each is sent to the real programs by tests/e2e/hostile_*.bats, which compare this page with what came of it; `make hostile-table` writes it anew.
*Limit* is the key of the configuration that refuses, or *fixed*.
"""
COLUMNS = """
| kind | input | what takes it | outcome | limit |
|---|---|---|---|---|
"""
PARTS = {
    "To a datastore": """
By a webserver that has the secret, by a client that has none, and as a backup.  What is not said to be committed changed nothing.
""",
    "From a datastore": """
In the place of the real one's answer, to a webserver that has something to take, or to push.  What is not said to be taken changed nothing there.  After each a
round with the real answers made both the same, where it is not said how that ended.  Of a bundle for one store the others do not care: they are taken.  A
datastore has the last word on what its history is: whose lie about that cannot be told from the truth is found out by the real one, and held.
""",
    "From a datastore, to a balancer": """
In the place of the list of webservers, to one that knows a list of two from before.  Whatever it is, no line gets into HAProxy's configuration but those of
webservers, and HAProxy takes it.
""",
}


def row(kind, sent, takes, outcome):
    outcome = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", "ID", outcome)
    outcome = re.sub(r"(\w+(%00)?)\1{9,}", r"\1", outcome)
    outcome = "".join(c if " " <= c <= "~" else "?" for c in outcome).replace("|", "\\|")
    key = re.search(LIMITS, outcome)
    limit = key[0] if key else "fixed" if re.search(r"^413|\bover \d|the limit of \d|more than \d|Operation too slow|Operation timed out|there are too many", outcome) else ""
    print(kind, sent, takes, outcome, limit, sep="\t", flush=True)


def parts(page):
    """The rows of each part, as they stand there."""
    return {title: re.sub(r"(?s).*\|---\|\n", "", rest) for title, _, rest in (part.partition("\n") for part in page.split("\n## ")[1:])}


if __name__ == "__main__":
    with open(sys.argv[1]) as old:
        rows = parts(old.read())
    rows[sys.argv[2]] = ""
    for name in sys.argv[3:]:
        with open(name) as file:
            rows[sys.argv[2]] += "".join("| " + " | ".join(line.rstrip("\n").split("\t")) + " |\n" for line in file)
    print(HEAD, end="")
    for title, text in PARTS.items():
        print(f"\n## {title}\n{text}{COLUMNS}{rows.get(title, '')}", end="")
