"""The check values of section 16 that need no whole packet. A failed assertion ends the program."""

from . import write
from .crypto import XWing, crc32c, sha256
from .ids import Bundle, endpoint_id, key_id, side_id
from .keccak import kmac256
from .records import chain_link, chain_start
from .tlv import Cursor


def uuid(text):
    return bytes.fromhex(text.replace("-", ""))


def check_values(north_token):
    assert crc32c(b"123456789") == 0xE3069283
    for encoded, value in (("3f", 63), ("4040", 64), ("80004000", 16384), ("c000000040000000", 1 << 30)):
        assert Cursor(bytes.fromhex(encoded)).varint() == value
    north, south = side_id("", "north", "south"), side_id("", "south", "north")
    assert north == uuid("9dfb5528-2866-8a42-902f-3e9908bb37be")
    assert south == uuid("b35ffc1d-8c77-8c10-a81c-3e60a1e0be2c")
    gateways = endpoint_id(north, "gateway", "0"), endpoint_id(south, "gateway", "0")
    assert gateways[0] == uuid("8ed3288c-315b-8e70-8e84-2978adad8e7d")
    assert gateways[1] == uuid("41afd8b9-d6e6-8eb1-8c68-9491fd4bc1d5")
    header = {"sender": gateways[0].hex(), "recipient": gateways[1].hex()}
    header |= {"sender_incarnation": "01" + "00" * 7 + "11" * 8, "recipient_incarnation": "02" + "00" * 7 + "22" * 8}
    start = chain_start(header)
    assert start.hex() == "5252595c07e87b192a70bc5b9a34ee29ecc302bf2dae2f719c419b09095b1595"
    record = {"seq": 1, "stream": 2, "offset": 0, "raw_len": 5, "kind": 33, "flags": 0, "pd": sha256(b"hello").hex()}
    assert chain_link(start, record).hex() == "aa793c2cb3cdf49d079112a5268a422424e59fb8fdfe5b1faad5ec7e8ccba2cb"
    sample = kmac256(bytes(range(0x40, 0x60)), bytes(range(4)), 512, b"My Tagged Application")
    assert sample.hex().startswith("20c570c31346f703c9ac36c61c03cb64c3970d0cfc787e9b79599d273a68d2f7")
    km = kmac256(b"\x22" * 32, b"\x11" * 32, 768, b"hoft1 packet keys").hex()
    assert km[:64] == "97a28f231f2e530aaa47eeeaabe96544e53ef57148e5ba10553d9e5402c26cc8"
    assert km[64:128] == "b76ab4806c613468f09803f083ab599a60dfe90f82263bec8733541f7daa0e1c"
    assert km[128:] == "c61a2ac91aab8c6bdaab09a0ab4e8b8ed75826dc18de7bce21d08e805bab1ef3"
    assert key_id((3, XWing(b"\x03" * 32).public)).hex() == "fbbd8c066080b9a6"
    assert key_id((3, XWing(b"\x06" * 32).public)).hex() == "753ac7c1fea45f9a"
    bundle = Bundle(north_token)
    assert (bundle.name, bundle.version, bundle.not_before, bundle.not_after) == ("north", 1, 0, 0)
    assert bundle.signing_id.hex() == "7032bfb1bcac6795" and bundle.fingerprint == "3chw-jkf3-senx-h73w-q8a6-jd03"
    assert sha256(north_token.encode()).hex() == "241afc8ca62c6dcd096c9e8c08c712458e3a1335995ca27954e85c2b461bf512"
    check_salt()


def check_salt():
    """The salt of the published sealed packet."""
    w, hello = write.Writer(), [write.chunk(1, 0, b"hello")]
    table = write.entries(hello, 16)
    head = write.header(w, {"suite": 3}, b"", write.PING, table, key_id((3, w.kem)))
    salt = write.hedged(w, b"\x07" * 32, head, b"", write.PING, table)[:32]
    assert salt.hex() == "2aaf17da83066fb4ba45736f3f83262beaf2ec5a664df7c0b423b17b5c80fcb3"
