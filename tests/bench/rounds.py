"""Alternating rounds of several sides, and the rows of a table made from their medians."""

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

from runner import BenchError, BenchSkip


class Side:
    """One of those that run in turn. run() gives a dictionary of figures."""

    def __init__(self, name, run, may_skip=False):
        self.name = name
        self.run = run
        self.may_skip = may_skip  # a host may lack what it needs
        self.figures = []
        self.problem = None  # why it has no figures
        self.row_problem = None  # what is wrong with some of them

    def pick(self, figure, how):
        values = [f[figure] for f in self.figures if figure in f]
        return how(values) if values else None

    def one_round(self):
        try:
            self.figures.append(self.run())
        except BenchError as e:
            self.problem = str(e).split("\n", maxsplit=1)[0]
            self.figures = []
            self.may_skip |= isinstance(e, BenchSkip)
            print(f"bench: {self.name}: {e}", file=sys.stderr)


def alternate(title, rounds, sides):
    """Runs every side once a round; one that fails isn't run again."""
    for i in range(rounds):
        for side in sides:
            if side.problem is None:
                print(f"bench: {title}, round {i + 1} of {rounds}: {side.name}", file=sys.stderr)
                side.one_round()


@dataclass
class Row:
    """A line of a table: a figure of one side, and of the other where there is one."""

    COLUMNS = ["", "posada", "QEMU", "ratio", "aim"]

    name: str
    posada: Side
    qemu: Side
    figure: str
    unit: str
    aim: str = ""
    how: Callable = statistics.median

    def cell(self, side):
        if side is None:
            return "-"
        if side.problem:
            return "SKIP" if side.may_skip else "FAIL"
        value = side.pick(self.figure, self.how)
        return "-" if value is None else f"{value:.{digits(value)}f} {self.unit}"

    def value(self):
        ours = self.posada.pick(self.figure, self.how)
        theirs = self.qemu.pick(self.figure, self.how) if self.qemu else None
        return ours / theirs if ours is not None and theirs else None

    def ratio(self):
        value = self.value()
        return "-" if value is None else f"{value:.2f}"

    def cells(self):
        return [self.name, self.cell(self.posada), self.cell(self.qemu), self.ratio(), self.aim]


def digits(value):
    return 0 if value >= 100 else 1 if value >= 10 else 2
