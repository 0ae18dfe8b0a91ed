"""`python3 -m second READER`: reads jobs from standard input, one JSON object a line, and answers each with one line.

A job is `{"file": path}`, optionally with `"len"` (only so many bytes of it) and `"patch"` ([offset, hex] pairs, laid over the whole file
first). The answer is what `packet.read` makes of it.
"""

import functools
import json
import pathlib
import sys

from .check import check_values
from .packet import Reader, read


@functools.cache
def load(path):
    return pathlib.Path(path).read_bytes()


def answer(job, reader):
    data = bytearray(load(job["file"]))
    for offset, patch in job.get("patch", []):
        raw = bytes.fromhex(patch)
        data[offset : offset + len(raw)] = raw
    return read(bytes(data[: job.get("len", len(data))]), reader)


def main():
    settings = json.loads(pathlib.Path(sys.argv[1]).read_text())
    check_values(settings["pinned"][0])
    reader = Reader(settings)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), reader), sort_keys=True, separators=(",", ":"), ensure_ascii=False))


main()
