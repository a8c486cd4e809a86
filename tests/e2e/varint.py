"""varint.py - a number as sameroot-record(5) and sameroot-tree(5) write it, seven bits an octet, the lowest first.  For crafted.py and ledger.py."""


def write(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def read(data, at):
    """The number at `at`, and where it ends."""
    n = shift = 0
    while True:
        n |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return n, at
