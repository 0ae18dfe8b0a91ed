"""Keccak, for KMAC256 of SP 800-185, which the standard library lacks. It does not try to be fast."""

MASK = (1 << 64) - 1
RATE = 136  # bytes, of the 256-bit functions


def _round_constants():
    """The 24 constants of iota from the bit sequence of FIPS 202, algorithm 5."""
    register, constants = 1, []
    for _ in range(24):
        constant = 0
        for j in range(7):
            if register & 1:
                constant |= 1 << ((1 << j) - 1)
            register = (register << 1) ^ (0x171 if register >> 7 else 0)
        constants.append(constant)
    return constants


def _rotations():
    """Offsets of rho, and the order in which pi moves the lanes."""
    offsets, (x, y) = {(0, 0): 0}, (1, 0)
    for t in range(24):
        offsets[x, y] = (t + 1) * (t + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    return offsets


CONSTANTS = _round_constants()
MOVES = [(x + 5 * y, y + 5 * ((2 * x + 3 * y) % 5), offset) for (x, y), offset in _rotations().items()]


def permute(lanes):
    """Keccak-f[1600] over 25 lanes, lane (x, y) at x + 5y."""
    for constant in CONSTANTS:
        columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        for x in range(5):
            turned = columns[(x + 1) % 5]
            mixed = columns[x - 1] ^ (turned << 1 & MASK | turned >> 63)
            for y in range(0, 25, 5):
                lanes[x + y] ^= mixed
        moved = [0] * 25
        for source, target, offset in MOVES:
            lane = lanes[source]
            moved[target] = (lane << offset | lane >> (64 - offset)) & MASK if offset else lane
        for y in range(0, 25, 5):
            for x in range(5):
                lanes[x + y] = moved[x + y] ^ (~moved[(x + 1) % 5 + y] & moved[(x + 2) % 5 + y])
        lanes[0] ^= constant
    return lanes


def sponge(data, suffix, length):
    """Absorbs the data with its domain suffix and squeezes `length` bytes."""
    padded = bytearray(data) + bytes([suffix])
    padded += bytes(-len(padded) % RATE)
    padded[-1] ^= 0x80
    lanes = [0] * 25
    for start in range(0, len(padded), RATE):
        for lane in range(RATE // 8):
            lanes[lane] ^= int.from_bytes(padded[start + 8 * lane : start + 8 * lane + 8], "little")
        permute(lanes)
    out = b""
    while len(out) < length:
        if out:
            permute(lanes)
        out += b"".join(lane.to_bytes(8, "little") for lane in lanes[: RATE // 8])
    return out[:length]


def _left_encode(number):
    body = number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")
    return bytes([len(body)]) + body


def _right_encode(number):
    body = number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")
    return body + bytes([len(body)])


def _string(data):
    return _left_encode(8 * len(data)) + data


def _pad(data):
    data = _left_encode(RATE) + data
    return data + bytes(-len(data) % RATE)


def kmac256(key, data, bits, customization):
    """KMAC256(K, X, bits, S)."""
    head = _pad(_string(b"KMAC") + _string(customization))
    return sponge(head + _pad(_string(key)) + data + _right_encode(bits), 0x04, bits // 8)
