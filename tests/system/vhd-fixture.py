"""A differencing VHD and its parent, by Microsoft's "Virtual Hard Disk Image Format Specification" and nothing of ours.

vhd-fixture.py DIRECTORY [bytes]: parent.vhd (dynamic), child.vhd (differencing, over it), child.raw (what a guest reads of
it). With "bytes", the child has whole bytes of a block's bitmap: libvhdi (20210425) takes the rest of
a byte for what its last set bit says.
"""

import os
import random
import struct
import sys
import uuid

SECTOR, BLOCK, BLOCKS = 512, 512 << 10, 9
SIZE = BLOCKS * BLOCK - 3 * SECTOR  # the last block is a part of one
DYNAMIC, DIFFERENCING = 3, 4
PARENT_TIME = 0x2C000000


def checksum(data):
    return ~sum(data) & 0xFFFFFFFF


def footer(kind, unique, timestamp):
    def pack(check):
        cylinders = SIZE // SECTOR // (4 * 17)
        return struct.pack(">8sIIQI4sI4sQQHBBII16sB427x", b"conectix", 2, 0x10000, 512, timestamp, b"win ", 0x60001, b"Wi2k",
                           SIZE, SIZE, cylinders, 4, 17, kind, check, unique, 0)
    return pack(checksum(pack(0)))


def header(parent, locators):
    """locators: platform code, where its data is, how many bytes."""
    entries = b"".join(struct.pack(">4sIIIQ", code, SECTOR, length, 0, at) for code, at, length in locators)
    name = "parent.vhd".encode("utf-16-be") if parent else b""

    def pack(check):
        return struct.pack(">8sQQIIII16sII512s192s256x", b"cxsparse", 0xFFFFFFFFFFFFFFFF, 512 + 1024, 0x10000, BLOCKS, BLOCK,
                           check, parent or bytes(16), PARENT_TIME if parent else 0, 0, name, entries)
    return pack(checksum(pack(0)))


def bitmap_of(sectors):
    bits = bytearray(BLOCK // SECTOR // 8)
    for i in sectors:
        bits[i // 8] |= 0x80 >> i % 8
    return bytes(bits).ljust(-(-len(bits) // SECTOR) * SECTOR, b"\0")


def write(path, kind, unique, parent, blocks):
    """blocks: number: (which sectors are there, the block's bytes); they lie in the order of the dictionary."""
    timestamp = PARENT_TIME if kind == DYNAMIC else PARENT_TIME + 60
    relative = ".\\parent.vhd".encode("utf-16-le")
    absolute = "C:\\nowhere\\parent.vhd".encode("utf-16-le")
    at = 512 + 1024 + -(-BLOCKS * 4 // SECTOR) * SECTOR
    locators = [(b"W2ku", at, len(absolute)), (b"W2ru", at + SECTOR, len(relative))] if parent else []
    table, body = [0xFFFFFFFF] * BLOCKS, b""
    if parent:
        body += absolute.ljust(SECTOR, b"\0") + relative.ljust(SECTOR, b"\0")
    for number, (sectors, data) in blocks.items():
        table[number] = (at + len(body)) // SECTOR
        body += bitmap_of(sectors) + data
    entries = struct.pack(f">{BLOCKS}I", *table)
    entries += b"\xff" * (-len(entries) % SECTOR)
    end = footer(kind, unique, timestamp)
    with open(path, "wb") as f:
        f.write(end + header(parent, locators) + entries + body + end)


def main():
    where, source = sys.argv[1], random.Random(7)
    unique, all_sectors = uuid.UUID(int=0x1234).bytes, range(BLOCK // SECTOR)
    beneath = {n: (all_sectors, source.randbytes(BLOCK)) for n in (5, 0, 2, 8)}
    disk = bytearray(BLOCKS * BLOCK)
    for number, (_, data) in beneath.items():
        disk[number * BLOCK:(number + 1) * BLOCK] = data
    over = {}
    for number, count in ((3, 100), (0, 7), (8, 500), (2, len(all_sectors)), (7, 1)):  # over something, and over nothing
        sectors, data = set(source.sample(all_sectors, count)), source.randbytes(BLOCK)
        if "bytes" in sys.argv[2:]:
            sectors = {j for i in sectors for j in range(i & ~7, (i | 7) + 1)}
        over[number] = (sectors, data)
        for i in sectors:
            start = number * BLOCK + i * SECTOR
            disk[start:start + SECTOR] = data[i * SECTOR:(i + 1) * SECTOR]
    write(os.path.join(where, "parent.vhd"), DYNAMIC, unique, None, beneath)
    write(os.path.join(where, "child.vhd"), DIFFERENCING, uuid.UUID(int=0x5678).bytes, unique, over)
    with open(os.path.join(where, "child.raw"), "wb") as f:
        f.write(disk[:SIZE])


if __name__ == "__main__":
    main()
