"""Boot of stock Debian kernels to busybox and power-off, without hardware virtualization."""

from rounds import Row, Side, alternate
from runner import Run

TITLE = "Boot on the software CPU"
ABOUT = """\
Debian's cloud kernels, unmodified, with an initial RAM disk of busybox: to its init, then power-off.
256 MiB, one vCPU. CPU time is of all processes over the whole run; to init, until the init's first
line is there."""

LIMIT = 300
SERIES = ["6.1", "6.12"]


def measure_boot(argv):
    with Run(argv, LIMIT, env={"POSADA_LOG": "info"}) as run:
        result = run.finish()
    init = result.find("bench: init")
    figures = {"init_cpu": init.cpu, "cpu": result.cpu, "wall": result.wall}
    return figures


def boot_sides(tools, series):
    guest = tools.linux_guest(series, "off")
    return [Side(f"posada, {series}", lambda: measure_boot(tools.posada(guest, "soft"))),
            Side(f"QEMU, {series}", lambda: measure_boot(tools.qemu(guest, "tcg")))]


def measure(tools, rounds):
    all_sides, rows = [], []
    for series in SERIES:
        ours, theirs = boot_sides(tools, series)
        all_sides += [ours, theirs]
        rows += [
            Row(f"{series}: CPU time to init", ours, theirs, "init_cpu", "s",
                "< 30 s" if series == "6.1" else ""),
            Row(f"{series}: CPU time to power-off", ours, theirs, "cpu", "s"),
            Row(f"{series}: wall time to power-off", ours, theirs, "wall", "s"),
        ]
    alternate("boot", rounds, all_sides)
    return all_sides, rows
