"""Some of everything that programs in Python do: calls, objects, dictionaries, lists, strings."""

import sys


class Shape:
    def __init__(self, width, height):
        self.width = width
        self.height = height

    def area(self):
        return self.width * self.height


def queens(n, row=0, columns=0, left=0, right=0):
    if row == n:
        return 1
    count = 0
    for column in range(n):
        bit = 1 << column
        if not (columns & bit or left & bit or right & bit):
            count += queens(n, row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1)
    return count


def words(n):
    counts = {}
    for i in range(n):
        word = f"w{i * 7919 % 997:03d}"
        counts[word] = counts.get(word, 0) + len(word.upper().replace("W", "xy"))
    return ",".join(f"{k}={v}" for k, v in sorted(counts.items())[:20])


def shapes(n):
    made = [Shape(i % 17, i % 23) for i in range(n)]
    made.sort(key=lambda shape: (shape.area(), shape.width))
    return sum(shape.area() * i for i, shape in enumerate(made))


for _ in range(int(sys.argv[1])):
    print(queens(6), words(4000), shapes(3000), sum(x * 0.5 for x in range(5000)))
