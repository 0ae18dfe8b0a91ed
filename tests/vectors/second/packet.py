"""A packet: the checks of section 11 in their order, as one pure function of bytes and a reader.

The reader is fresh: it has met nobody, so that rows 8 to 10, 13 and 18 have nothing to object to; and the file does not grow any more, so
that "wait" is over. `read` gives `{"verdict": name}` for a packet that is rejected, and everything that was read for one that is not.
"""

import struct

from . import control, records
from .crypto import XWing, crc32c, ed25519_verifies, gcm_open, hpke_export, mldsa65_verifies, sha256
from .ids import Bundle, endpoint_id, key_id, names, side_id
from .keccak import kmac256
from .records import align8
from .tlv import Malformed

MAGIC = bytes.fromhex("894846540d0a1a0a")
SUITES = {1: (0, False, 32), 2: (0, False, 3373), 3: (1120, True, 3373)}  # KEM ciphertext, sealed, signature
ENTRY = 64


class Reader:
    """One endpoint with its configured peering."""

    def __init__(self, settings):
        self.suites = set(settings["suites"])
        self.max_frame = settings["max_frame"]
        self.tag = settings["name_tag"]
        local, remote, realm = settings["local"], settings["remote"], settings["realm"]
        self.side = side_id(realm, local, remote)
        self.remote_side = side_id(realm, remote, local)
        self.endpoint = endpoint_id(self.side, settings["kind"], settings["name"])
        self.bundles = {}
        for token in settings["pinned"]:
            bundle = Bundle(token)
            assert bundle.name == remote
            self.bundles[bundle.signing_id] = bundle
        self.revoked = {bytes.fromhex(revoked) for revoked in settings["revoked"]}
        self.kems = {}
        for seed in settings["kem_seeds"]:
            kem = XWing(bytes.fromhex(seed))
            self.kems[key_id((3, kem.public))] = kem


class Reject(Exception):
    """The name of the check that failed."""


def require(holds, name):
    if not holds:
        raise Reject(name)


def parse_header(raw):
    """Section 3, as it stands there."""
    major, minor, suite, flags, header_len, control_len, frame_count, frames_at = struct.unpack_from("<4H4I", raw, 8)
    pn, sent_at, total_len = struct.unpack_from("<QqQ", raw, 96)
    return {
        "major": major,
        "minor": minor,
        "suite": suite,
        "flags": flags,
        "header_len": header_len,
        "control_len": control_len,
        "frame_count": frame_count,
        "frames_at": frames_at,
        "sender": raw[32:48].hex(),
        "recipient": raw[48:64].hex(),
        "sender_incarnation": raw[64:80].hex(),
        "recipient_incarnation": raw[80:96].hex(),
        "pn": pn,
        "sent_at": sent_at,
        "total_len": total_len,
        "signing_key_id": raw[120:128].hex(),
        "kem_key_id": raw[128:136].hex(),
        "salt": raw[136:168].hex(),
        "commitment": raw[168:200].hex(),
        "reserved": raw[200:252].hex(),
        "crc": int.from_bytes(raw[252:256], "little"),
    }


def check_header(data, reader):
    """Rows 1 to 4: the header, and where its signature is."""
    require(len(data) >= 256, "short")
    require(data[:8] == MAGIC, "magic")
    h = parse_header(data)
    require(crc32c(data[:252]) == h["crc"], "crc")
    require(h["major"] == 1, "major")
    require(h["suite"] in SUITES, "suite_unknown")
    # Of no peering is known what it takes before the recipient is found: row 5 has the next word on a stranger's.
    require(h["suite"] in reader.suites or data[48:64] not in (reader.endpoint, reader.side), "suite_refused")
    require(h["flags"] & 0xFF == 0, "flags")
    ct, sealed, signature = SUITES[h["suite"]]
    sig_at = h["header_len"] + ct + h["control_len"] + h["frame_count"] * ENTRY + (16 if sealed else 0)
    lengths = (
        256 <= h["header_len"] <= 65792
        and h["header_len"] % 8 == 0
        and 8 <= h["control_len"] <= 1048576
        and h["control_len"] % 8 == 0
        and h["frame_count"] <= 65536
        and h["frames_at"] == align8(sig_at + signature)
        and 1 <= h["pn"] < 1 << 40
        and any(data[64:80])
        and h["total_len"] % 8 == 0
        and h["frames_at"] + 16 <= h["total_len"] <= 1 << 40
    )
    require(lengths, "length")
    return h, sig_at


def check_addresses(data, h, reader):
    """Rows 5 to 7: the pinned bundle, for suites that sign."""
    require(data[48:64] in (reader.endpoint, reader.side), "recipient")
    require(data[32:48] not in (reader.endpoint, reader.side), "reflected")
    if h["suite"] == 1:
        return None
    require(data[120:128] in reader.bundles, "key_unknown")
    require(data[120:128] not in reader.revoked, "key_revoked")
    return reader.bundles[data[120:128]]


def check_signature(data, h, sig_at, bundle):
    """Row 12."""
    signature = data[sig_at:]
    if h["suite"] == 1:
        require(signature[:32] == sha256(b"hoft1 packet checksum", data[:sig_at]), "checksum")
        return
    message = b"hoft1 packet signature" + sha256(data[:sig_at])
    require(ed25519_verifies(bundle.keys[1], signature[:64], message), "signature_ed25519")
    require(mldsa65_verifies(bundle.keys[2], signature[64:3373], message), "signature_mldsa")


def check_ext(data, h):
    """Row 14."""
    try:
        tlvs = control.parse(data[256 : h["header_len"]], {1: control.KNOWN[1]})
    except Malformed:
        raise Reject("ext_malformed") from None
    require(all(tlv["type"] % 2 == 1 for tlv in tlvs), "ext_critical")
    return tlvs


def unseal(data, h, sig_at, reader):
    """Row 15: control with table, the key of the frames with HH, and what was derived."""
    at = h["header_len"]
    if h["suite"] != 3:
        return data[at:sig_at], None, {}
    ct = data[at : at + 1120]
    kem = reader.kems.get(data[128:136])
    require(kem is not None, "kem_key")
    shared = kem.decapsulate(ct)
    require(shared is not None, "kem_key")
    hh = sha256(data[:168], bytes(32), data[200:252], bytes(4), data[256:at], ct)
    km = kmac256(hpke_export(shared, b"hoft1 packet", b"hoft1 ss", 32), hh, 768, b"hoft1 packet keys")
    require(km[64:] == data[168:200], "commitment")
    clear = gcm_open(km[:32], bytes(12), hh, data[at + 1120 : sig_at])
    require(clear is not None, "control_seal")
    return clear, (km[32:64], hh), {"hh": hh.hex()}


def read_frames(data, h, table, entries, seal, reader):
    """Rows 19 to 22, every frame by itself."""
    found, at = [], h["frames_at"]
    for index, e in enumerate(entries):
        raw_entry = table[index * ENTRY : (index + 1) * ENTRY]
        stored = data[at : min(at + e["stored_len"], len(data))]
        options = {"seal": seal, "raw_entry": raw_entry, "max_frame": reader.max_frame}
        verdict, read = records.frame(index, e, stored, **options)
        found.append({"at": at, "verdict": verdict, "records": read})
        at += align8(e["stored_len"])
    return found


def chain(h, frames):
    """The chain over the packet's records, where they are the first ones of their log and all of them are stored."""
    every = sorted((r for frame in frames for r in frame["records"]), key=lambda record: record["seq"])
    if [r["seq"] for r in every] != list(range(1, len(every) + 1)) or any(r["verdict"] != "ok" for r in every):
        return None
    value = records.chain_start(h)
    for record in every:
        value = records.chain_link(value, record)
    return value.hex()


def check(data, reader):
    h, sig_at = check_header(data, reader)
    bundle = check_addresses(data, h, reader)
    require(len(data) >= h["frames_at"], "prefix_cut")
    check_signature(data, h, sig_at, bundle)
    ext = check_ext(data, h)
    clear, seal, digests = unseal(data, h, sig_at, reader)
    block, table = clear[: h["control_len"]], clear[h["control_len"] :]
    to_side = data[48:64] == reader.side
    scope = {"to_side": to_side, "frame_count": h["frame_count"], "sender": data[32:48], "sender_side": reader.remote_side}
    tlvs, reject = control.check(block, **scope)
    require(reject is None, reject)
    entries = [records.entry(table[at : at + ENTRY]) for at in range(0, len(table), ENTRY)]
    reject = records.check_table(entries, h["frames_at"], h["total_len"], 16 if seal else 0)
    require(reject is None, reject)
    frames = read_frames(data, h, table, entries, seal, reader)
    end = data[h["total_len"] - 16 : h["total_len"]]
    return {
        "verdict": "ok",
        "header": h,
        "ext": ext,
        "control": tlvs,
        "table": entries,
        "frames": frames,
        "digests": digests | {"signed": sha256(data[:sig_at]).hex(), "chain": chain(h, frames)},
        "end_marker": end == b"HFTEND\r\n" + data[136:144],
        "names": names(h, reader.tag),
    }


def read(data, reader):
    """What this reader makes of a file with these bytes."""
    try:
        return check(data, reader)
    except Reject as reject:
        return {"verdict": str(reject)}
