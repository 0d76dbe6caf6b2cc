#!/usr/bin/env python3
"""power-check.py DISK FLUSHED BYTES: what power-writer wrote to DISK (raw) up to the flushed number is there.

A block holds the last write to it that was flushed, or a later one, whole; or zeros when none was flushed.
"""
import sys

BLOCK, BLOCKS = 4096, 4
MASK = (1 << 64) - 1


def mix(n):
    n = (n ^ n >> 30) * 0xBF58476D1CE4E5B9 & MASK
    n = (n ^ n >> 27) * 0x94D049BB133111EB & MASK
    return n ^ n >> 31


def place(n, blocks):
    return mix(n) % (blocks - BLOCKS), 1 + mix(n) // 7 % BLOCKS


def main():
    path, flushed, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with open(path, "rb") as f:
        disk = f.read(size)  # a format may have made the disk larger
    blocks = len(disk) // BLOCK
    least = {}
    for n in range(1, flushed + 1):
        first, count = place(n, blocks)
        for b in range(first, first + count):
            least[b] = n
    newer = 0
    for b in range(blocks):
        data = disk[b * BLOCK : (b + 1) * BLOCK]
        number = int.from_bytes(data[:8], "little")
        if data != number.to_bytes(8, "little") * (BLOCK // 8):
            sys.exit(f"block {b} is no write's")
        if number < least.get(b, 0):
            sys.exit(f"block {b}: write {least[b]} was flushed, and {number} is there")
        if number:
            first, count = place(number, blocks)
            if not first <= b < first + count:
                sys.exit(f"block {b} holds {number}, which went elsewhere")
        newer += number > flushed
    print(f"{flushed} writes flushed, {newer} blocks of later ones")


main()
