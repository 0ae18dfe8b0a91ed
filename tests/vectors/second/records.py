"""Table entries, batch frames and records (sections 8 and 9): rows 17 and 19 to 22 of the checks, and the chain."""

import struct

import zstandard

from .crypto import gcm_open, sha256, sha3_256
from .tlv import Cursor, Malformed

LARGEST_FRAME = 1 << 24
LARGEST_RECORD = LARGEST_FRAME - 1
COUNTER = 1 << 62
ZSTD = 1
TOMBSTONE, RESET_STREAM, STOP_SENDING, HEAD, DATA, TRAILERS, INTERIM = 1, 2, 3, 32, 33, 34, 36
CHUNK, BATCH, FILLER = 1, 2, 4


def align8(length):
    return -(-length // 8) * 8


def entry(raw):
    """One entry of the table (E = 64)."""
    stored_len, raw_len, kind, flags = struct.unpack_from("<IIBB", raw)
    seq, offset = struct.unpack_from("<QQ", raw, 16)
    stream = int.from_bytes(raw[10:16], "little")
    return {
        "stored_len": stored_len,
        "raw_len": raw_len,
        "kind": kind,
        "flags": flags,
        "stream": stream,
        "seq": seq,
        "offset": offset,
        "digest": raw[32:64].hex(),
    }


def check_table(entries, frames_at, total_len, tag):
    """Row 17."""
    if any(not 1 <= e["stored_len"] - tag <= LARGEST_FRAME for e in entries):
        return "table"
    if frames_at + sum(align8(e["stored_len"]) for e in entries) + 16 != total_len:
        return "table"
    return None


def frame(index, e, stored, *, seal, raw_entry, max_frame):
    """Rows 19 to 22 for one frame: its name, and its records."""
    if len(stored) < e["stored_len"]:
        return "frame_cut", []
    clear = stored
    if seal:
        key, hh = seal
        aad = hh + struct.pack("<Q", index) + raw_entry
        clear = gcm_open(key, index.to_bytes(12, "big"), aad, stored)
        if clear is None:
            return "frame_seal", []
    if sha256(clear).hex() != e["digest"]:
        return "frame_digest", []
    if e["kind"] == FILLER:
        return "filler", []
    known = e["kind"] in (CHUNK, BATCH) and not e["flags"] & ~(ZSTD if e["kind"] == CHUNK else 0)
    if not known or len(clear) > max_frame:
        return "frame_kind", []
    try:
        records = chunk(e, clear) if e["kind"] == CHUNK else batch(e, clear)
        if sum(record["raw_len"] for record, _ in records) > max_frame:
            raise Malformed("more than max_frame")
        return "ok", [finish(record, payload) for record, payload in records]
    except Malformed:
        return "records", []


def chunk(e, clear):
    """The one DATA record of a chunk frame."""
    record = {"seq": e["seq"], "stream": e["stream"], "offset": e["offset"], "kind": DATA, "flags": e["flags"]}
    record |= {"len": len(clear), "raw_len": e["raw_len"]}
    if max(record["len"], record["raw_len"]) > LARGEST_RECORD:
        raise Malformed("longer than a record can be")
    judge(record, clear)
    return [(record, clear)]


def batch(e, clear):
    """The records of a batch frame."""
    if e["raw_len"] != len(clear) or not 1 <= e["offset"] <= 65536:
        raise Malformed("entry of a batch")
    cursor, records = Cursor(clear), []
    for _ in range(e["offset"]):
        first, second, third, offset = struct.unpack("<IIQQ", cursor.take(24))
        record = {"seq": e["seq"] + (third & 0xFFFF), "stream": third >> 16, "offset": offset}
        record |= {"kind": first >> 24, "flags": second >> 24, "len": first & 0xFFFFFF, "raw_len": second & 0xFFFFFF}
        if record["seq"] != e["seq"] if not records else record["seq"] <= records[-1][0]["seq"]:
            raise Malformed("seqs ascend from the base")
        payload = cursor.take(record["len"])
        judge(record, payload)
        records.append((record, payload))
    if cursor.rest():
        raise Malformed("a rest")
    return records


def is_dropped(record):
    """Unknown flag, or unknown kind below 32."""
    return record["flags"] & ~ZSTD != 0 or 3 < record["kind"] < 32


def judge(record, payload):
    """Whether one record is well-formed."""
    kind, zstd = record["kind"], record["flags"] & ZSTD
    if kind == 0 or record["seq"] < 1 or record["seq"] >= COUNTER or record["offset"] + record["raw_len"] >= COUNTER:
        raise Malformed("kind 0, seq 0 or a sum beyond 2^62")
    if kind >= 32 and record["raw_len"] < 1:
        raise Malformed("an empty record")
    if is_dropped(record):
        return
    if zstd and (kind < 32 or kind in (HEAD, INTERIM, TRAILERS)):
        raise Malformed("a kind that is never compressed")
    if kind != TOMBSTONE and not (record["raw_len"] > record["len"] if zstd else record["raw_len"] == record["len"]):
        raise Malformed("raw_len")
    if kind < 32:
        layer1(record, payload)


def layer1(record, payload):
    """Payload of a layer-1 record: its fields, without a rest."""
    cursor = Cursor(payload)
    if record["kind"] == TOMBSTONE:
        kind, flags, _, charged = struct.unpack("<BBHI", cursor.take(8))
        fields = {"kind": kind, "flags": flags, "charged": charged, "pd": cursor.take(32).hex()}
    else:
        fields = {"code": cursor.varint()}
    if cursor.rest():
        raise Malformed("a rest")
    return fields


def finish(record, payload):
    """Rows 21 and 22 for a record, and what its payload is."""
    record = record | {"pd": sha256(payload).hex(), "verdict": "ok"}
    if is_dropped(record):
        return record | {"verdict": "record_kind"}
    if record["kind"] < 32:
        return record | {"fields": layer1(record, payload)}
    if record["flags"] & ZSTD:
        raw = inflate(payload, record["raw_len"])
        return record | ({"verdict": "inflate"} if raw is None else {"inflated": sha256(raw).hex()})
    return record


def inflate(payload, raw_len):
    """One zstd frame with its content size, no dictionary, a window of at most 16 MiB; or None."""
    try:
        parameters = zstandard.get_frame_parameters(payload)
        if parameters.content_size != raw_len or parameters.dict_id != 0 or parameters.window_size > 1 << 24:
            return None
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 24).decompressobj()
        raw = reader.decompress(payload)
        whole = reader.eof and not reader.unused_data and len(raw) == raw_len
        return raw if whole else None
    except zstandard.ZstdError:
        return None


def chain_start(header):
    ids = (header["sender"], header["sender_incarnation"], header["recipient"], header["recipient_incarnation"])
    return sha3_256(b"hoft1 log", *(bytes.fromhex(part) for part in ids))


def chain_link(before, record):
    """The chain after this record. A tombstone links what it stands for."""
    kind, flags, pd = record["kind"], record["flags"], record["pd"]
    if kind == TOMBSTONE:
        kind, flags, pd = (record["fields"][name] for name in ("kind", "flags", "pd"))
    numbers = struct.pack("<QQQIBBH", record["seq"], record["stream"], record["offset"], record["raw_len"], kind, flags, 0)
    return sha3_256(b"hoft1 link", before, numbers, bytes.fromhex(pd))
