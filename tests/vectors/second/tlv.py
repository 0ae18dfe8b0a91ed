"""Varints, ranges and TLV blocks (section 6)."""


class Malformed(Exception):
    """Bytes that break a rule; whoever reads them knows which name that has."""


class Cursor:
    """Reads a value front to back."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        end = self.at + length
        if end > len(self.data):
            raise Malformed("too short")
        part, self.at = self.data[self.at : end], end
        return part

    def rest(self):
        return self.take(len(self.data) - self.at)

    def varint(self):
        length = 1 << (self.take(1)[0] >> 6)
        self.at -= 1
        value = int.from_bytes(self.take(length), "big") & (1 << 8 * length - 2) - 1
        if length > 1 and value < 1 << 8 * (length // 2) - 2:
            raise Malformed("not the shortest form")
        return value

    def ranges(self, least=0, most=256):
        """Pairs of lowest and highest, newest first."""
        count, found, low = self.varint(), [], None
        if not least <= count <= most:
            raise Malformed("count of ranges")
        for _ in range(count):
            high = self.varint() if low is None else low - self.varint() - 2
            low = high - self.varint()
            if low < 0:
                raise Malformed("a range below 0")
            found.append([low, high])
        return found


def block(data):
    """The (type, value) pairs of a block."""
    cursor, found = Cursor(data), []
    while cursor.at < len(data) and data[cursor.at] != 0:
        kind = cursor.varint()
        value = cursor.take(cursor.varint())
        if found and kind <= found[-1][0]:
            raise Malformed("types ascend")
        found.append((kind, value))
    padding = cursor.rest()
    if len(found) > 256 or len(padding) > 7 or any(padding):
        raise Malformed("padding or count")
    return found
