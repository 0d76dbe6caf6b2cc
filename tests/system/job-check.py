#!/usr/bin/env python3
"""job-check.py DISK: the disk of job-test's guest at one moment.

The guest writes one 64 KiB block after the other, the n-th to the place n * 37 % 256; so if M is the last one that is
there, every place has the last of its blocks up to M. Of M itself a part may be there.
"""
import sys

BLOCK, PLACES = 65536, 256


def block(n):
    line = b"block %d\n" % n
    return (line * (BLOCK // len(line) + 1))[:BLOCK]


def last_at(place, most):
    """The last block up to the one named that goes to the place; 0: none."""
    return next((n for n in range(most, max(0, most - PLACES), -1) if n * 37 % PLACES == place), 0)


def main():
    with open(sys.argv[1], "rb") as f:
        disk = f.read()
    there = [disk[p * BLOCK : (p + 1) * BLOCK] for p in range(PLACES)]
    most = max(int(b.split(b"\n")[0].split()[1]) for b in there if b.startswith(b"block "))
    for place, data in enumerate(there):
        n = last_at(place, most)
        if data != (block(n) if n else bytes(BLOCK)) and place != most * 37 % PLACES:
            sys.exit(f"block {most} is there, and place {place} hasn't what was written before it ({n})")
    print(f"the disk as it was after block {most}")


main()
