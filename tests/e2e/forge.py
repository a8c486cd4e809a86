"""forge.py - what a peer that has the secrets can make, and what none should: keyed hashes, records, leaves, bundles, nodes.  See sameroot-bundle(5) and
sameroot-tree(5).  For the hostile peers, and crafted.py.
"""
import ctypes
import json
import struct

import varint


class Hash(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_128bits_withSecret.restype = xxhash.XXH3_128bits.restype = Hash
xxhash.XXH3_128bits_withSecret.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
xxhash.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
zstd = ctypes.CDLL("libzstd.so.1")
zstd.ZSTD_decompress.restype = ctypes.c_size_t
zstd.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
FILE, DIR, ROW, TABLE = 1, 2, 3, 4
UNION, EDITED, SINCE, FROM = 1, 2, 256, 512


def plain(bundle):
    """The tar of a bundle, which is compressed if it is a small one."""
    if bundle[:4] != b"\x28\xb5\x2f\xfd":
        return bundle
    room = ctypes.create_string_buffer(1 << 20)
    size = zstd.ZSTD_decompress(room, len(room), bundle, len(bundle))
    assert size <= len(room)
    return room.raw[:size]


def keyed(key, data):
    h = xxhash.XXH3_128bits_withSecret(data, len(data), key, len(key))
    return h.high.to_bytes(8, "big") + h.low.to_bytes(8, "big")


def unseeded(data):
    h = xxhash.XXH3_128bits(data, len(data))
    return h.high, h.low


def twins():
    """Two contents of one unseeded XXH3-128.  A lane whose low half is the secret's multiplies by zero, so that what is in its high half only adds, and may as
    well be in the same lane of the next stripe."""
    secret = bytes.fromhex("b8fe6c3923a44bbe7c01812cf721ad1c")
    low = [int.from_bytes(secret[i:i + 4], "little") for i in (0, 8)]

    def content(a, b):
        return struct.pack("<II", low[0], a) + b"." * 56 + struct.pack("<II", low[1], b) + b"." * 952

    one, two = content(1000, 7), content(7, 1000)
    assert one != two and unseeded(one) == unseeded(two)
    return one, two


def string(data):
    return varint.write(len(data)) + data


def record(**columns):
    out = varint.write(len(columns))
    for name, value in sorted(columns.items()):
        out += string(name.encode())
        out += b"\x01" + struct.pack(">q", value) if isinstance(value, int) else b"\x03" + string(value)
    return out


def key_of(*values):
    return varint.write(len(values)) + b"".join(b"\x01" + struct.pack(">q", v) for v in values)


def version(kind=0, mode=0o644, size=0, digest=b""):
    return bytes([kind]) + {0: b"", FILE: varint.write(mode) + varint.write(size) + digest, DIR: varint.write(mode),
                            ROW: varint.write(size) + digest, TABLE: digest}[kind]


def leaf(path, to, expect=b"\0", flags=0, is_file=False, as_of=(0, 0), since=None, there=None, rec=b"", stage=b"", inode=0):
    flags |= (SINCE if since else 0) | (FROM if there is not None else 0)
    return (string(path) + varint.write(flags) + expect + to + (bytes(8) if is_file else b"") + b"".join(map(varint.write, as_of + (since or ())))
            + (string(there) if there is not None else b"") + string(rec) + string(stage) + varint.write(inode))


def frame(store, content, body):
    return string(string(store) + bytes([content]) + body)


def header(name, size, typeflag=b"0", link=b"", size_field=None):
    """A tar header as sameroot-bundle(5) has it, or with what it does not have."""
    h = bytearray(512)
    h[:len(name)] = name
    h[100:108], h[108:116], h[116:124] = b"000644 \0", b"000000 \0", b"000000 \0"
    h[124:136] = size_field if size_field is not None else b"%011o " % size
    h[136:148], h[148:156], h[156:157] = b"00000000000 ", b" " * 8, typeflag
    h[157:157 + len(link)] = link
    h[257:265], h[329:337], h[337:345] = b"ustar\x0000", b"000000 \0", b"000000 \0"
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)


def member(name, content, **how):
    return header(name, len(content), **how) + content + bytes(-len(content) % 512)


class Bundle:
    """Members in their order, with the end that belongs to them."""

    def __init__(self, key, head):
        self.key, self.leaves, self.datas, self.index, self.out, self.said = key, 0, 0, 0, b"", b""
        self.add(b"sameroot", b"sameroot-bundle 1\nkey " + keyed_id(key) + b"\n" + head)

    def add(self, name, content, **how):
        self.said += string(name) + struct.pack(">Q", len(content)) + content
        self.out += member(name, content, **how)

    def number(self, kind):
        self.index += 1
        return b"%08d.%s" % (self.index, kind)

    def frames(self, *frames):
        self.leaves += len(frames)
        self.add(self.number(b"leaves"), b"".join(frames))

    def data(self, content, **how):
        self.datas += 1
        self.add(self.number(b"data"), content, **how)

    def end(self):
        return member(b"end", struct.pack(">QQ", self.leaves, self.datas) + keyed(self.key, self.said))

    def whole(self):
        return self.out + self.end() + bytes(1024)


def keyed_id(key):
    return keyed(key, key).hex().encode()


def entry(name, kind, digest, leaves=1, octets=0, mode=0o644):
    return string(name) + bytes([kind]) + (varint.write(mode) if kind in (FILE, DIR) else b"") + digest + varint.write(leaves) + varint.write(octets)


def node(*entries, attributes=b""):
    return b"\x10" + string(attributes) + varint.write(len(entries)) + b"".join(entries)


def push_head(tree, webserver, push, prev=None, attempt=1):
    return json.dumps({"id": push, "prev": prev, "webserver": webserver, "start": tree["start"], "try": attempt, "instance": tree["instance"],
                       "epoch": tree["epoch"], "seq": tree["seq"], "root": tree["root"]}).encode()
