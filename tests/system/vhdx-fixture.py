"""A differencing VHDX and its parent, by Microsoft's [MS-VHDX] and nothing of ours.

vhdx-fixture.py DIRECTORY [no-zeros]: parent.vhdx (dynamic), child.vhdx (differencing, over it), child.raw (what a guest
reads of it; sparse). The disk is just larger than what one bitmap block tells of. With "no-zeros", the child has no block of
zeros over the parent's data: libvhdi (20210425) shows the parent's.
"""

import os
import random
import struct
import sys
import uuid

KIB, MIB = 1 << 10, 1 << 20
SECTOR, BLOCK = 512, MIB
SECTORS = BLOCK // SECTOR  # of a block
CHUNK = (1 << 23) // SECTORS  # the blocks that share a bitmap block
BLOCKS = CHUNK + 8
SIZE = BLOCKS * BLOCK - 3 * SECTOR  # the last block is a part of one
LOG, METADATA, TABLE, FIRST = 1 * MIB, 4 * MIB, 2 * MIB, 5 * MIB
NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, PRESENT, PARTLY = 0, 1, 2, 3, 6, 7
REQUIRED, OF_DISK = 4, 2
PARENT_ID, CHILD_ID = uuid.UUID("83ed0ec3-24c8-49a6-a959-5e4bf1288bfb"), uuid.UUID(int=0x5678)


def crc_table():
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
        yield i


CRC = tuple(crc_table())


def sealed(data):
    """With its CRC-32C at 4, over all of it with zeros there."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC[(crc ^ byte) & 0xFF]
    return data[:4] + struct.pack("<I", crc ^ 0xFFFFFFFF) + data[8:]


def guid(text):
    return uuid.UUID(text).bytes_le


def header(sequence, data_id):
    return sealed(struct.pack("<4sIQ16s16s16sHHIQ4016x", b"head", 0, sequence, uuid.UUID(int=sequence).bytes_le,
                              data_id.bytes_le, bytes(16), 0, 1, MIB, LOG))


def regions():
    entries = [("2DC27766-F623-4200-9D64-115E9BFD4A08", TABLE), ("8B7CA206-4790-4B9A-B8FE-575F050F886E", METADATA)]
    data = struct.pack("<4sIII", b"regi", 0, len(entries), 0)
    data += b"".join(struct.pack("<16sQII", guid(name), at, MIB, 1) for name, at in entries)
    return sealed(data.ljust(64 * KIB, b"\0"))


def locator():
    pairs = {"absolute_win32_path": "\\\\?\\C:\\nowhere\\parent.vhdx", "parent_linkage": f"{{{PARENT_ID}}}",
             "relative_path": ".\\parent.vhdx"}
    head = guid("B04AEFB7-D19E-4A81-B789-25B8E9445913") + struct.pack("<HH", 0, len(pairs))
    entries, strings, at = b"", b"", len(head) + 12 * len(pairs)
    for key, value in pairs.items():
        key, value = key.encode("utf-16-le"), value.encode("utf-16-le")
        entries += struct.pack("<IIHH", at, at + len(key), len(key), len(value))
        strings += key + value
        at += len(key) + len(value)
    return head + entries + strings


def metadata(has_parent):
    items = [("CDA348C7-445D-4471-9CC9-E9885251C556", REQUIRED | OF_DISK, struct.pack("<I", 4096)),
             ("2FA54224-CD1B-4876-B211-5DBED83BF4B8", REQUIRED | OF_DISK, struct.pack("<Q", SIZE)),
             ("BECA12AB-B2E6-4523-93EF-C309E000C746", REQUIRED | OF_DISK, uuid.UUID(int=0x9ABC).bytes_le),
             ("8141BF1D-A96F-4709-BA47-F233A8FAAB5F", REQUIRED | OF_DISK, struct.pack("<I", SECTOR)),
             ("CAA16737-FA36-4D43-B3B6-33F0AA44E76B", REQUIRED, struct.pack("<II", BLOCK, 2 if has_parent else 0))]
    if has_parent:
        items.insert(1, ("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C", REQUIRED, locator()))
    table, data = struct.pack("<8sHH20x", b"metadata", 0, len(items)), b""
    for name, flags, item in items:
        table += struct.pack("<16sIIII", guid(name), 64 * KIB + len(data), len(item), flags, 0)
        data += item
    return table.ljust(64 * KIB, b"\0") + data


def bitmap(chunk, blocks):
    """Bit 0 of byte 0 is the chunk's first sector; of a block that is there as a whole it says nothing."""
    bits = bytearray(MIB)
    for number, (state, sectors, _) in blocks.items():
        for i in sectors if state == PARTLY and number // CHUNK == chunk else ():
            bit = number % CHUNK * SECTORS + i
            bits[bit // 8] |= 1 << bit % 8
    return bits


def write(path, data_id, has_parent, blocks):
    """blocks: number: (state, which sectors are there, the block's bytes or none); they lie in the order of the dictionary."""
    chunks = -(-BLOCKS // CHUNK)
    table, at = [NOT_PRESENT] * (chunks * (CHUNK + 1) if has_parent else BLOCKS + chunks - 1), FIRST
    with open(path, "wb") as f:
        def put(where, data):
            f.seek(where)
            f.write(data)
        put(0, b"vhdxfile" + "a specification".encode("utf-16-le"))
        put(64 * KIB, header(8, uuid.UUID(int=0xBAD)))  # the older one
        put(128 * KIB, header(9, data_id))
        put(192 * KIB, regions())
        put(256 * KIB, regions())
        put(METADATA, metadata(has_parent))
        for number, (state, _, data) in blocks.items():
            table[number + number // CHUNK] = at | state if data else state
            if data:
                put(at, data)
                at += BLOCK
        for chunk in range(chunks if has_parent else 0):
            table[chunk * (CHUNK + 1) + CHUNK] = at | PRESENT
            put(at, bitmap(chunk, blocks))
            at += MIB
        put(TABLE, struct.pack(f"<{len(table)}Q", *table))
        f.truncate(at)


def main():
    where, source = sys.argv[1], random.Random(7)
    every, last = range(SECTORS), BLOCKS - 1
    beneath = {n: (PRESENT, every, source.randbytes(BLOCK)) for n in (5, 0, last, 2, CHUNK, 1, CHUNK - 1, CHUNK + 1, CHUNK - 2)}
    beneath |= {6: (ZERO, (), b""), 7: (UNMAPPED, (), b""), 8: (UNDEFINED, (), b"")}
    disk = {number: bytearray(data) for number, (_, _, data) in beneath.items() if data}
    over = {3: (ZERO, (), b""), 4: (UNMAPPED, (), b"")}
    if "no-zeros" not in sys.argv[2:]:
        over[1] = (ZERO, (), b"")
        del disk[1]
    parts = ((CHUNK + 1, 1), (0, 7), (6, 100), (9, 300), (last, 500), (CHUNK - 1, 1000), (CHUNK, SECTORS))
    for number, count in (*parts, (2, None), (CHUNK + 3, None)):  # over something, and over nothing
        sectors, data = set(source.sample(every, count)) if count else every, source.randbytes(BLOCK)
        over[number] = (PARTLY if count else PRESENT, sectors, data)
        block = disk.setdefault(number, bytearray(BLOCK))
        for i in sectors:
            block[i * SECTOR:(i + 1) * SECTOR] = data[i * SECTOR:(i + 1) * SECTOR]
    write(os.path.join(where, "parent.vhdx"), PARENT_ID, False, beneath)
    write(os.path.join(where, "child.vhdx"), CHILD_ID, True, over)
    with open(os.path.join(where, "child.raw"), "wb") as f:
        for number, data in disk.items():
            f.seek(number * BLOCK)
            f.write(data)
        f.truncate(SIZE)


if __name__ == "__main__":
    main()
