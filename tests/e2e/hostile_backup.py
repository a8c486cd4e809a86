"""hostile_backup.py DIR COMMAND... - hostile backups in DIR, each given to COMMAND, which is sameroot-restore without the file: rows for table.py."""
import os
import subprocess
import sys

import table
from forge import header, member

directory, command = sys.argv[1], sys.argv[2:]
TOP = header(b"resources/", 0, typeflag=b"5")


def packed(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


BAD = [
    ("nothing", b""),
    ("not a tar", b"nonsense" * 1000),
    ("no manifest", TOP + bytes(1024)),
    ("cut within a header", TOP[:300]),
    ("cut within a member", TOP + header(b"resources/a", 100000) + bytes(700)),
    ("member `/etc/passwd`", member(b"/etc/passwd", b"x")),
    ("member `../users.db`", member(b"../users.db", b"x")),
    ("member `resources/../x`", TOP + member(b"resources/../x", b"x")),
    ("member below `resources/.sameroot`", TOP + member(b"resources/.sameroot/x", b"x")),
    ("member without a name", member(b"", b"x")),
    ("member below a file", TOP + member(b"resources/a", b"x") + member(b"resources/a/x", b"x")),
    ("member twice", TOP + member(b"resources/a", b"x") * 2 + bytes(1024)),
    ("directory twice", TOP * 2),
    ("symbolic link", TOP + header(b"resources/link", 0, typeflag=b"2", link=b"/etc")),
    ("hard link", TOP + header(b"resources/link", 0, typeflag=b"1", link=b"/etc/passwd")),
    ("character device", TOP + header(b"resources/null", 0, typeflag=b"3")),
    ("block device", TOP + header(b"resources/sda", 0, typeflag=b"4")),
    ("FIFO", TOP + header(b"resources/fifo", 0, typeflag=b"6")),
    ("sparse member (GNU)", TOP + member(b"resources/a", b"x", typeflag=b"S")),
    ("member of negative size", TOP + header(b"resources/a", 0, size_field=b"\xff" * 12)),
    ("member of 2^62 bytes", TOP + header(b"resources/a", 0, size_field=b"\x80" + (1 << 62).to_bytes(11, "big"))),
    ("wrong sum of a header", TOP.replace(b"000644 ", b"000777 ", 1)),
    ("name of invalid UTF-8 and control characters, and no manifest", TOP + member(b"resources/\xff\x1b[2J\n", b"x") + bytes(1024)),
    ("a manifest that is no JSON", TOP + member(b"manifest.json", b"{") + bytes(1024)),
    ("a manifest of 1,000 levels", TOP + member(b"manifest.json", b"[" * 1000) + bytes(1024)),
    ("256 MiB of zeros in zstd, and no manifest", None),
    ("zstd that is cut", packed(TOP + bytes(1024))[:-9]),
    ("zstd in zstd", packed(packed(TOP + bytes(1024)))),
]
path = os.path.join(directory, "hostile.tar")
for sent, data in BAD:
    with open(path, "wb") as file:
        if data is not None:
            file.write(data)
        else:
            subprocess.run("{ cat; head -c 268435456 /dev/zero; } | zstd -q -1 -c", shell=True, input=TOP + header(b"resources/big", 1 << 28), stdout=file, check=True)
    done = subprocess.run(command + [path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    said = (done.stderr.decode("utf-8", "replace").splitlines() or [""])[-1].replace(directory + "/", "").removeprefix("sameroot-restore: ")
    table.row("Backup", sent, "`sameroot-restore --dry-run`", f"exit status {done.returncode}: {said}")
