"""Ids that are derived from names, the public bundle token, and the names of files (sections 12 and 13)."""

import base64
import hashlib
import re
import struct

from .crypto import is_small_order, sha256

NAME = re.compile(r"[a-z0-9-]{1,63}\Z")
ALGORITHMS = {1: (1, 32), 2: (1, 1952), 3: (2, 1216), 4: (1, 2592), 5: (2, 1568)}


def lp(data):
    return struct.pack("<H", len(data)) + data


def uuid8(data):
    out = bytearray(hashlib.sha256(data).digest()[:16])
    out[6] = out[6] & 0x0F | 0x80
    out[8] = out[8] & 0x3F | 0x80
    return bytes(out)


def side_id(realm, own, other):
    return uuid8(b"hoft1 side" + lp(realm.encode()) + lp(own.encode()) + lp(other.encode()))


def endpoint_id(side, kind, name):
    return uuid8(b"hoft1 endpoint" + side + lp(kind.encode()) + lp(name.encode()))


def key_id(*keys):
    return sha256(b"hoft1 key", *(struct.pack("<H", algorithm) + key for algorithm, key in keys))[:8]


class Bundle:
    """What a token says: name, version, times, keys by algorithm."""

    def __init__(self, token):
        token = token.strip()
        raw = base64.b64decode(token[5:] + "=" * (-len(token[5:]) % 4), altchars=b"-_", validate=True)
        unpadded = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        payload, check = raw[:-4], raw[-4:]
        assert token[:5] == "hoft1" and unpadded == token[5:], "no token, or spare bits"
        assert sha256(b"hoft1 token", payload)[:4] == check, "the token's checksum"
        form, self.kind, zero, self.version, self.not_before, self.not_after, length = struct.unpack_from("<BBHIqqH", payload)
        assert form == 1 and self.kind == 1 and zero == 0 and self.version >= 1
        at = 26 + length
        self.name, self.keys, last = payload[26:at].decode(), {}, 0
        count, at = payload[at], at + 1
        assert NAME.match(self.name) and 1 <= count <= 8
        for _ in range(count):
            algorithm, use, zero, size = struct.unpack_from("<HBBI", payload, at)
            key, at = payload[at + 8 : at + 8 + size], at + 8 + size
            assert algorithm > last and zero == 0 and len(key) == size
            last = algorithm
            if algorithm in ALGORITHMS:
                assert ALGORITHMS[algorithm] == (use, size)
                self.keys[algorithm] = key
        assert at == len(payload) and not is_small_order(self.keys[1])
        words = int.from_bytes(sha256(b"hoft1 fingerprint", payload)[:15], "big")
        letters = "".join("0123456789abcdefghjkmnpqrstvwxyz"[words >> shift & 31] for shift in range(115, -1, -5))
        self.fingerprint = "-".join(letters[at : at + 4] for at in range(0, 24, 4))
        self.signing_id = key_id((1, self.keys[1]), (2, self.keys[2]))


def names(header, tag):
    """The sharded path under the root, and the flat name."""
    random, pn = header["sender_incarnation"][16:], header["pn"]
    recipient, sender = header["recipient"], header["sender"]
    return {
        "path": f"{recipient}/{sender}/{random}/{pn >> 12:x}/{pn:016x}-{tag}.hft",
        "flat": f"{recipient[:10]}-{sender[:10]}-{random[:8]}-{pn:012x}-{tag}.hft",
    }
