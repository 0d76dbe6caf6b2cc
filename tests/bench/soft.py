"""The software CPU against TCG: a row for each kind of work, in CPU time, and what the host itself takes."""

import statistics
import sys
from dataclasses import dataclass, replace

import boot
from rounds import Row, Side, alternate
from runner import BenchError, Run

TITLE = "The software CPU, by kinds of work"
ABOUT = """\
Linux 6.1 with one vCPU and 512 MiB, an initial RAM disk of Debian's packages and of C programs
(tests/bench/guest/work*.c, crypto.c; `soft` has the commands): CPU time of all processes, from the line
that the guest writes before a row to the one after it. Every row prints a result, which must be the same
on all sides. Native: the same files, run by the host in CPU time; its own kernel is another than the
guest's. Boots are of the group `boot`: all of the run, to power-off. QEMU has its default TCG
settings and `-cpu max`, posada `--cpu host`: both offer what they can (with posada-v2, the default, OpenSSL's
sha256 has no SHA instructions). The geometric mean is of all rows above it."""

LIMIT = 1500  # a busy host takes its time; CPU time is what counts
SCALING = ["scale-1", "scale-2"]  # a thread, and two that do as much each


@dataclass
class Kind:
    """Rows with one aim: names, which tests/bench/guest/soft knows, and words."""

    title: str
    aim: float
    rows: dict


KINDS = [
    Kind("loops", 0.9, {
        "intloop": "in registers", "branches": "branches", "list": "list chase"}),
    Kind("compiled C", 0.45, {
        "qsort": "qsort", "sieve": "sieve", "hash": "hash table", "sha256": "sha256", "fib": "fib",
        "switch": "switch", "indirect": "indirect calls", "gzip": "gzip", "xz": "xz", "sort": "sort"}),
    Kind("interpreters", 0.35, {"python": "Python", "perl": "Perl", "shell": "shell"}),
    Kind("floating point, vectors", 0.2, {
        "double": "scalar double", "packed": "packed double", "simd": "SIMD integer", "x87": "x87"}),
    Kind("OpenSSL", 0.3, {"ssl-sha256": "sha256", "ssl-rsa": "RSA-2048", "ssl-p256": "P-256"}),
    Kind("OpenSSL", 0.1, {"ssl-aes-gcm": "AES-128-GCM", "ssl-chacha20": "ChaCha20-Poly1305"}),
    Kind("memory", 0.1, {"memcpy": "memcpy of 64 KiB", "strlen": "strlen", "movsb": "REP MOVSB of 64 KiB"}),
    Kind("memory", 0.5, {"random": "random reads of 64 MiB"}),
    Kind("calls", 0.4, {
        "getpid": "system call", "signal": "signal", "yield": "yield", "clock": "clock_gettime"}),
    Kind("processes", 0.4, {
        "fault": "page fault", "mprotect": "mprotect", "fork": "fork", "exec-static": "fork, exec, static",
        "exec-dynamic": "fork, exec, dynamic"}),
    Kind("I/O", 0.3, {"pipe": "pipe ping-pong", "file": "4 KiB file I/O"}),
    Kind("code", 0.5, {"rewrite": "self-modifying"}),
]

# What --only can ask for.
NAMES = [f"boot-{series}" for series in boot.SERIES] + [n for k in KINDS for n in k.rows] + ["scaling", "systemd"]


@dataclass
class SoftRow(Row):
    """A row that has a native figure, too."""

    COLUMNS = ["", "posada", "QEMU", "ratio", "aim", "native", "posada / native"]
    native: Side = None

    def cells(self):
        ours = self.posada.pick(self.figure, self.how)
        theirs = self.native.pick(self.figure, self.how) if self.native else None
        slower = f"{ours / theirs:.1f}" if ours and theirs and theirs > 0.001 else "-"
        return [*super().cells()[:4], self.aim, self.cell(self.native), slower]


class MeanRow(SoftRow):
    """The geometric mean of other rows' ratios; a row without one makes it worthless."""

    def __init__(self, rows, aim):
        super().__init__("geometric mean", None, None, None, None, aim)
        self.rows = rows

    def cells(self):
        ratios = [row.value() for row in self.rows]
        mean = f"{statistics.geometric_mean(ratios):.3f}" if all(ratios) else "-"
        return [self.name, "-", "-", mean, self.aim, "-", "-"]


def phase(result, name, figure):
    """A row's CPU or wall time, and what it printed."""
    begin, end = result.find(f"bench: begin {name}"), result.find(f"bench: end {name} ")
    for line in result.find_all(f"bench: failed {name}:"):
        raise BenchError(line.text)
    said = result.find(f"bench: result {name} ").text
    if said.strip() == f"bench: result {name}":
        raise BenchError(f"{name} has no sum")
    return {name: getattr(end, figure) - getattr(begin, figure), f"{name} result": said}


def measure_guest(argv, names):
    """One guest that does one row after another. When it ends too early, those before have figures."""
    figures = {}
    with Run(argv, LIMIT) as run:
        try:
            run.finish()
        except BenchError as e:
            print(f"bench: {e}", file=sys.stderr)
        for name in names:
            try:
                figures |= phase(run.result, name, "cpu")
            except BenchError as e:
                print(f"bench: {str(e).splitlines()[0]}", file=sys.stderr)
    return figures


def measure_native(root, names):
    """The same files, run by the host: a process for each row, less what one takes that does nothing."""
    def run(name):
        argv = ["unshare", "--user", "--map-root-user", f"--root={root}", "/soft/soft", name]
        with Run(argv, LIMIT) as run:
            return run.finish()

    run("text")
    nothing = run("nothing").cpu
    figures = {}
    for name in names:
        result = run(name)
        figures |= phase(result, name, "cpu")
        figures[name] = max(0.0, result.cpu - nothing)
    return figures


def measure_scaling(argv):
    """How many times as much two CPUs do as one in the same time, and what that costs each."""
    figures = {}
    with Run(argv, LIMIT) as run:
        result = run.finish()
    for figure in ("wall", "cpu"):
        one, two = (phase(result, name, figure)[name] for name in SCALING)
        figures[f"scaling {figure}"] = 2 * one / two if figure == "wall" else two / 2 / one
    return figures


def measure_systemd(argv):
    with Run(argv, LIMIT) as run:
        run.wait_for_text("posada-demo login: ")
        wall, cpu = run.used()
        return {"systemd": wall, "systemd cpu": cpu}


def different_results(names, sides):
    """Rows whose output isn't the same on all sides."""
    results = {name: {f[name + " result"] for side in sides for f in side.figures if name in f} for name in names}
    return [name for name in names if len(results[name]) > 1]


def work_rows(tools, rounds, is_wanted):
    kinds = [replace(kind, rows={n: w for n, w in kind.rows.items() if is_wanted(n)}) for kind in KINDS]
    names = [name for kind in kinds for name in kind.rows]
    if not names:
        return [], []
    guest = tools.linux_guest(tools.series, "soft", memory=512)
    guest.initrd = tools.path("initrd-soft")
    guest.append += " bench.rows=" + ",".join(names)
    ours = Side("posada", lambda: measure_guest(tools.posada(guest, "soft"), names))
    theirs = Side("QEMU", lambda: measure_guest(tools.qemu(guest, "tcg"), names))
    native = Side("native", lambda: measure_native(tools.path("soft-root"), names), may_skip=True)
    alternate("soft", rounds, [ours, theirs, native])
    different = different_results(names, [ours, theirs, native])
    missing = [f"{name} on {side.name}" for name in names for side in (ours, theirs)
               if len([f for f in side.figures if name in f]) < rounds]
    if different or missing:
        ours.row_problem = f"different results: {different or 'none'}; without result: {missing or 'none'}"
    rows = [SoftRow(f"{kind.title}: {words}", ours, theirs, name, "s", f"<= {kind.aim}", native=native)
            for kind in kinds for name, words in kind.rows.items()]
    return [ours, theirs, native], rows


def boot_rows(tools, rounds, is_wanted):
    sides, rows = [], []
    for series in boot.SERIES:
        if is_wanted(f"boot-{series}"):
            pair = boot.boot_sides(tools, series)
            rows.append(SoftRow(f"boot of Debian's {series}", *pair, "cpu", "s", "<= 0.4"))
            sides += pair
    alternate("soft: boots", rounds, sides)
    return sides, rows


def two_cpu_rows(tools, rounds, is_wanted):
    """Of wall time, since that is what several CPUs are for."""
    sides, rows = [], []

    def add(name, guest, measure, *kinds):
        if is_wanted(name):
            pair = [Side(f"posada, {name}", lambda: measure(tools.posada(guest, "soft"))),
                    Side(f"QEMU, {name}", lambda: measure(tools.qemu(guest, "tcg")))]
            sides.extend(pair)
            rows.extend(kind(*pair) for kind in kinds)

    guest = tools.linux_guest(tools.series, "soft", memory=512, cpus=2)
    guest.initrd = tools.path("initrd-soft")
    guest.append += " bench.rows=" + ",".join(SCALING)
    add("scaling", guest, measure_scaling,
        lambda *pair: SoftRow("two vCPUs do so many times the work of one; the best round", *pair,
                              "scaling wall", "times", ">= 1.8", max),
        lambda *pair: SoftRow("CPU time of the same work there, in times of one's", *pair, "scaling cpu", "times"))
    add("systemd", tools.demo_guest(), measure_systemd,
        lambda *pair: SoftRow("Debian 12 with systemd to its login prompt, 2 vCPUs, wall time", *pair,
                              "systemd", "s", "<= 0.45"),
        lambda *pair: SoftRow("the same, CPU time", *pair, "systemd cpu", "s"))
    alternate("soft: two vCPUs", rounds, sides)
    return sides, rows


def measure(tools, rounds):
    def is_wanted(name):
        return not tools.only or name in tools.only

    parts = [part(tools, rounds, is_wanted) for part in (boot_rows, work_rows, two_cpu_rows)]
    (_, boots), (_, work), (_, two) = parts
    rows = boots + work + ([MeanRow(boots + work, "<= 0.25")] if boots + work else []) + two
    return [side for sides, _ in parts for side in sides], rows
