"""A second writer: packets from the description of the wire, for the product to read.

It can also write what a wrong or hostile *holder of the keys* would: packets whose signature is good and something behind it is not.
What it writes is committed, because encapsulation and ML-DSA are not repeatable. `python3 -m second.write FOLDER [NAME…]`.
"""

import json
import os
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .crypto import XWing, crc32c, hpke_export, sha256, sha3_256
from .ids import endpoint_id, key_id, side_id
from .keccak import kmac256
from .packet import MAGIC, SUITES
from .records import align8

RAW = (Encoding.Raw, PublicFormat.Raw)
PING = bytes.fromhex("1400000000000000")


def pad8(data):
    return data + bytes(-len(data) % 8)


class Writer:
    """North, gateway 0, with the seeds of the published check values."""

    def __init__(self):
        self.ed25519 = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
        self.mldsa = MLDSA65PrivateKey.from_seed_bytes(b"\x02" * 32)
        publics = [key.public_key().public_bytes(*RAW) for key in (self.ed25519, self.mldsa)]
        self.signing_id = key_id((1, publics[0]), (2, publics[1]))
        self.local = kmac256(b"\x01" * 32 + b"\x02" * 32, b"", 256, b"hoft1 local")
        self.kem = XWing(b"\x06" * 32).public
        north, south = side_id("", "north", "south"), side_id("", "south", "north")
        self.sender, self.recipient = endpoint_id(north, "gateway", "0"), endpoint_id(south, "gateway", "0")

    def encapsulate(self):
        """X-Wing to south: ciphertext and shared secret."""
        ss_m, ct_m = MLKEM768PublicKey.from_public_bytes(self.kem[:1184]).encapsulate()
        own, theirs = X25519PrivateKey.generate(), self.kem[1184:]
        ct_x = own.public_key().public_bytes(*RAW)
        ss_x = own.exchange(X25519PublicKey.from_public_bytes(theirs))
        return ct_m + ct_x, sha3_256(ss_m, ss_x, ct_x, theirs, XWing.LABEL)

    def sign(self, covered):
        message = b"hoft1 packet signature" + sha256(covered)
        return self.ed25519.sign(message) + self.mldsa.sign(message)


def hedged(w, osrng, head, ext, control, table):
    """Salt, then the randomness of the encapsulation, which this writer has no use for: its library takes none."""
    return kmac256(w.local, osrng + sha256(head, ext, control, table), 768, b"hoft1 hedge")


def header(w, p, ext, control, table, kem_key):
    """The header without salt, commitment and CRC."""
    ct, sealed, signature = SUITES[p["suite"]]
    sig_at = 256 + len(ext) + ct + len(control) + len(table) + (16 if sealed else 0)
    frames_at = align8(sig_at + signature)
    stored = [align8(struct.unpack_from("<I", table, at)[0]) for at in range(0, len(table), 64)]
    total = frames_at + sum(stored) + 16 + p.get("total_more", 0)
    head = MAGIC + struct.pack("<HHHH", 1, p.get("minor", 0), p["suite"], p.get("flags", 0))
    head += struct.pack("<IIII", 256 + len(ext), len(control), len(table) // 64, frames_at)
    head += w.sender + w.recipient + struct.pack("<Q", 1) + b"\x11" * 8 + struct.pack("<Q", 2) + b"\x22" * 8
    head += struct.pack("<QqQ", p.get("pn", 7), 0, total) + w.signing_id + kem_key
    return head + bytes(64) + p.get("reserved", bytes(52)) + bytes(4)


def entries(frames, tag):
    """The table: `frames` are (kind, flags, raw_len, stream, seq, offset, clear bytes)."""
    table = b""
    for kind, flags, raw_len, stream, seq, offset, clear in frames:
        table += struct.pack("<IIBB", len(clear) + tag, raw_len, kind, flags) + stream.to_bytes(6, "little")
        table += struct.pack("<QQ", seq, offset) + sha256(clear)
    return table


def write(w, p):
    """One packet. `p` names its parts, and what is to be wrong with it (section 5, "Writing order")."""
    sealed = p["suite"] == 3
    ext, control, frames = p.get("ext", b""), p.get("control", PING), p.get("frames", [])
    table = entries(frames, 16 if sealed else 0)
    if "table" in p:
        table = p["table"](bytearray(table))
    kem_key = p.get("kem_key", key_id((3, w.kem))) if sealed else bytes(8)
    head = bytearray(header(w, p, ext, control, table, kem_key))
    head[136:168] = hedged(w, os.urandom(32), head, ext, control, table)[:32]
    body, seal = control + table, None
    if sealed:
        ct, shared = w.encapsulate()
        hh = sha256(head[:168], bytes(32), head[200:252], bytes(4), ext, ct)
        km = kmac256(hpke_export(shared, b"hoft1 packet", b"hoft1 ss", 32), hh, 768, b"hoft1 packet keys")
        head[168:200] = bytes(32) if p.get("wrong") == "commitment" else km[64:]
        key = km[32:64] if p.get("wrong") == "control_seal" else km[:32]
        body = ct + AESGCM(key).encrypt(bytes(12), body, hh)
        seal = km[32:64], hh
    head[252:] = struct.pack("<I", crc32c(head[:252]))
    covered = bytes(head) + ext + body
    out = pad8(covered + w.sign(covered))
    stored = []
    for index, frame in enumerate(frames):
        clear = frame[6]
        if seal:
            aad = seal[1] + struct.pack("<Q", index) + table[64 * index : 64 * index + 64]
            clear = AESGCM(seal[0]).encrypt(index.to_bytes(12, "big"), clear, aad)
        stored.append(pad8(clear))
    if p.get("wrong") == "frames_swapped":
        stored.reverse()
    return out + b"".join(stored) + b"HFTEND\r\n" + head[136:144]


def chunk(seq, offset, data):
    return 1, 0, len(data), 2, seq, offset, data


def record(base, seq, stream, offset, kind, payload, flags=0, raw_len=None):
    raw_len = len(payload) if raw_len is None else raw_len
    words = len(payload) | kind << 24, raw_len | flags << 24, seq - base | stream << 16, offset
    return struct.pack("<IIQQ", *words) + payload


def batch(base, *records):
    clear = b"".join(records)
    return 2, 0, len(clear), 0, base, len(records), clear


def patched(at, value):
    """Changes a table at a place, whatever its digests say."""

    def change(table):
        table[at : at + len(value)] = value
        return bytes(table)

    return change


def packets():
    """Name → parts. The later senders come first, then what is wrong behind a good signature, in the order of the checks."""
    hello = [chunk(1, 0, b"hello"), chunk(2, 5, b"again")]
    later = {
        "minor": 65535,
        "flags": 0xA500,
        "reserved": bytes(range(1, 53)),
        "ext": pad8(bytes.fromhex("0100") + bytes.fromhex("210367") + b"re"),
        "control": pad8(bytes.fromhex("1400") + bytes.fromhex("210161") + bytes.fromhex("405f0162")),
        "frames": [
            chunk(1, 0, b"hello"),
            (4, 0, 0, 0, 0, 0, b"padding"),
            batch(2, record(2, 2, 2, 5, 33, b"more"), record(2, 3, 2, 9, 35, bytes(40))),
            (77, 3, 9, 9, 9, 9, b"a kind of later"),
        ],
    }
    bad_seq = batch(5, record(5, 5, 2, 0, 33, b"a"), record(5, 5, 2, 1, 33, b"b"))
    short_tombstone = batch(1, record(1, 1, 2, 0, 1, bytes(39), raw_len=5))
    found = {
        "signed-later": {"suite": 2, **later},
        "sealed-later": {"suite": 3, **later},
        "sealed-two": {"suite": 3, "frames": hello},
        "sealed-ext-malformed": {"suite": 3, "ext": bytes(8)},
        "sealed-ext-critical": {"suite": 3, "ext": pad8(bytes.fromhex("0200"))},
        "sealed-kem-key": {"suite": 3, "kem_key": bytes(8)},
        "sealed-commitment": {"suite": 3, "wrong": "commitment"},
        "sealed-control-seal": {"suite": 3, "wrong": "control_seal"},
        "sealed-control-malformed": {"suite": 3, "control": bytes(8)},
        "sealed-control-critical": {"suite": 3, "control": pad8(bytes.fromhex("1600"))},
        "sealed-endpoint": {"suite": 3, "control": pad8(b"\x02\x10" + bytes(16))},
        "sealed-table-sum": {"suite": 3, "frames": hello, "total_more": 8},
        "sealed-table-short": {"suite": 3, "frames": hello, "table": patched(0, struct.pack("<I", 16))},
        "sealed-frames-swapped": {"suite": 3, "frames": hello, "wrong": "frames_swapped"},
        "sealed-digest": {"suite": 3, "frames": hello, "table": patched(32, bytes(32))},
        "sealed-records": {"suite": 3, "frames": [bad_seq, short_tombstone, chunk(9, 0, b"good")]},
        "signed-seq-0": {"suite": 2, "frames": [chunk(0, 0, b"zero"), chunk((1 << 62) - 1, 0, b"last")]},
    }
    return {f"foreign-{name}": parts for name, parts in found.items()}


def main():
    folder, names, w = pathlib.Path(sys.argv[1]), sys.argv[2:], Writer()
    for name, parts in packets().items():
        if not names or name in names:
            (folder / f"{name}.hft").write_bytes(write(w, parts))
    print(json.dumps(sorted(packets())))


if __name__ == "__main__":
    main()
