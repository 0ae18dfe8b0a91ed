"""The control block: every known TLV with its rules (section 7), and row 16 of the checks."""

from .ids import NAME, endpoint_id
from .tlv import Cursor, Malformed, block


def text(raw):
    """Bytes as text; what is not printable ASCII is shown as `?`."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in raw)


def hello(c):
    return {"nonce": c.take(16).hex()}


def endpoint(c):
    value = {"kind": text(c.take(c.varint())), "name": text(c.rest())}
    if not all(NAME.match(part) for part in value.values()):
        raise Malformed("no name")
    return value


def reset(c):
    return {"reason": c.varint()}


def log(c):
    value = {"next": c.varint(), "oldest": c.varint(), "pn_floor": c.varint()}
    if not 1 <= value["oldest"] <= value["next"]:
        raise Malformed("1 <= oldest <= next")
    return value


def ack(c):
    return {"cum": c.varint(), "chain": c.take(16).hex(), "una_seen": c.varint()}


def sack(c):
    return {"ranges": c.ranges(least=1)}


def packets(c):
    value = {"largest": c.varint(), "echo_pn": c.varint(), "hold_us": c.varint()}
    return value | {"complete": c.ranges(), "partial": c.ranges(), "unopenable": c.ranges()}


def credit(c):
    return {"max_log_bytes": c.varint(), "max_exchanges": c.varint(), "max_stream_bytes": c.varint()}


def stream_credit(c):
    count, stream, streams = c.varint(), 0, []
    if not 1 <= count <= 1024:
        raise Malformed("count of streams")
    for _ in range(count):
        step = c.varint()
        if streams and step == 0:
            raise Malformed("streams ascend")
        stream += step
        if stream >= 1 << 48:
            raise Malformed("no stream has this id")
        streams.append([stream, c.varint()])
    return {"streams": streams}


def versions(c):
    value = {"major_min": c.varint(), "major_max": c.varint(), "features": c.varint(), "software": text(c.rest())}
    if len(value["software"]) > 64:
        raise Malformed("software name")
    return value


def limits(c):
    value = {"max_frame": c.varint(), "ack_delay_ms": c.varint(), "max_packet": c.varint(), "heartbeat_ms": c.varint()}
    if value["max_frame"] < 1 << 21:
        raise Malformed("max_frame")
    return value


def keys(c):
    def ids():
        count = c.varint()
        if count > 8:
            raise Malformed("count of key ids")
        return [c.take(8).hex() for _ in range(count)]

    return {"bundle_version": c.varint(), "kem": ids(), "signing": ids()}


def counters(c):
    names = ("used", "partial", "unopenable", "bad_frames", "duplicate_records", "junk_files")
    return {name: c.varint() for name in names}


def cut_histogram(c):
    return {"buckets": [[c.varint(), c.varint()] for _ in range(24)]}


def pressure(c):
    return {"bits": c.varint()}


def presence(c):
    return {"role": c.varint(), "weight": c.varint(), "valid_ms": c.varint(), "ticket": c.take(16).hex()}


def tombs_taken(c):
    return {"ranges": c.ranges()}


def pad(c):
    if any(c.rest()):
        raise Malformed("PAD is zeros")
    return {}


def ping(_):
    return {}


KNOWN = {
    1: ("PAD", pad),
    2: ("HELLO", hello),
    3: ("ENDPOINT", endpoint),
    4: ("ECHO", hello),
    6: ("RESET", reset),
    8: ("LOG", log),
    10: ("ACK", ack),
    12: ("SACK", sack),
    14: ("PACKETS", packets),
    16: ("CREDIT", credit),
    18: ("STREAM_CREDIT", stream_credit),
    20: ("PING", ping),
    21: ("VERSIONS", versions),
    23: ("LIMITS", limits),
    25: ("KEYS", keys),
    27: ("COUNTERS", counters),
    29: ("CUT_HISTOGRAM", cut_histogram),
    31: ("PRESSURE", pressure),
    35: ("PRESENCE", presence),
    43: ("TOMBS_TAKEN", tombs_taken),
}
TO_A_SIDE = {1, 3, 21, 35}


def parse(data, known):
    """A block as a list of TLVs; those in `known` with their fields."""
    tlvs = []
    for kind, value in block(data):
        tlv = {"type": kind, "value": value.hex()}
        if kind in known:
            name, read = known[kind]
            tlv |= {"name": name, "fields": read(Cursor(value))}
        tlvs.append(tlv)
    return tlvs


def check(data, *, to_side, frame_count, sender, sender_side):
    """Row 16: the TLVs, or the name of the reject."""
    try:
        tlvs = parse(data, KNOWN)
        if not tlvs:
            raise Malformed("a control block has at least one TLV")
        fields = {tlv["type"]: tlv.get("fields") for tlv in tlvs}
        if 12 in fields:
            lowest = min(low for low, _ in fields[12]["ranges"])
            if 10 not in fields or lowest < fields[10]["cum"] + 2:
                raise Malformed("SACK stands with ACK and above it")
    except Malformed:
        return None, "control_malformed"
    if any(kind % 2 == 0 and kind not in KNOWN for kind in fields):
        return None, "control_critical"
    if to_side and (frame_count > 0 or any(kind in KNOWN and kind not in TO_A_SIDE for kind in fields)):
        return None, "control_scope"
    if not to_side and 35 in fields:  # scope S alone: ignored
        del fields[35]
        tlvs = [{"type": 35, "value": tlv["value"]} if tlv["type"] == 35 else tlv for tlv in tlvs]
    if 3 in fields:
        if endpoint_id(sender_side, fields[3]["kind"], fields[3]["name"]) != sender:
            return None, "endpoint"
    elif fields.keys() & {2, 4, 35}:
        return None, "endpoint"
    return tlvs, None
