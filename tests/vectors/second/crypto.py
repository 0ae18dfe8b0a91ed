"""Signatures, X-Wing, HPKE's exporter and the seals, as the wire uses them.

ML-KEM, ML-DSA, Ed25519, X25519 and AES-GCM come from the package `cryptography`; what is built from them is here.
"""

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
L = 2**252 + 27742317777372353535851937790883648493


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC = _crc_table()


def crc32c(data):
    """CRC-32C (Castagnoli)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def sha3_256(*parts):
    return hashlib.sha3_256(b"".join(parts)).digest()


def _decompress(encoded):
    """The point of RFC 8032, 5.1.3, or None."""
    word = int.from_bytes(encoded, "little")
    sign, y = word >> 255, (word & (1 << 255) - 1) % P
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P == -u % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if v * x * x % P != u:
        return None
    return (P - x if x & 1 != sign else x) % P, y


def is_small_order(encoded):
    """Whether eight times the point is the neutral one; True too for what is no point."""
    point = _decompress(encoded)
    if point is None:
        return True
    x, y = point
    for _ in range(3):
        xy, k = x * y % P, D * x * x * y * y % P
        x, y = 2 * xy * pow(1 + k, -1, P) % P, (y * y + x * x) * pow(1 - k, -1, P) % P
    return x == 0 and y == 1


def ed25519_verifies(key, signature, message):
    """RFC 8032 without cofactor, S below L, and neither A nor R of small order."""
    if int.from_bytes(signature[32:], "little") >= L or is_small_order(key) or is_small_order(signature[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def mldsa65_verifies(key, signature, message):
    """FIPS 204, pure, empty context."""
    try:
        MLDSA65PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


class XWing:
    """The secret half of an X-Wing key (draft-connolly-cfrg-xwing-kem-08), from its 32-byte seed."""

    LABEL = rb"\.//^" + b"\\"

    def __init__(self, seed):
        expanded = hashlib.shake_256(seed).digest(96)
        self.mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        self.x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        raw = (Encoding.Raw, PublicFormat.Raw)
        self.share = self.x25519.public_key().public_bytes(*raw)
        self.public = self.mlkem.public_key().public_bytes(*raw) + self.share

    def decapsulate(self, ct):
        """The shared secret, or None where the X25519 share is of low order."""
        try:
            ss_x = self.x25519.exchange(X25519PublicKey.from_public_bytes(ct[1088:]))
        except ValueError:
            return None
        ss_m = self.mlkem.decapsulate(ct[:1088])
        return sha3_256(ss_m, ss_x, ct[1088:], self.share, self.LABEL)


def _hkdf_expand(prk, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        out, counter = out + block, counter + 1
    return out[:length]


def hpke_export(shared_secret, info, context, length, kem_id=0x647A):
    """RFC 9180, base mode, HKDF-SHA256, export only: the key schedule and one export."""
    suite = b"HPKE" + kem_id.to_bytes(2, "big") + b"\x00\x01\xff\xff"

    def extract(salt, label, ikm):
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")

    def expand(prk, label, body, size):
        return _hkdf_expand(prk, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + body, size)

    schedule = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared_secret, b"secret", b"")
    exporter = expand(secret, b"exp", schedule, 32)
    return expand(exporter, b"sec", context, length)


def gcm_open(key, nonce, aad, sealed):
    """The plain text, or None where the tag is wrong."""
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        return None
