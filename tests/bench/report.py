"""The printed table, and docs/benchmarks.md: one section for each group, those not run stay as they were."""

import os
import re
import subprocess

HEAD = """\
# Benchmarks

Written by `./bench`: posada (release build, asserts on) against QEMU, with the same kernel, initial RAM
disk, memory and number of vCPUs, run in turn. Medians; ratio is posada / QEMU, lower is better. CPU time
is user and system time of all processes, and the figure to trust: the wall times of a busy host
wander. Each section says on what host, in how many rounds and at what load it was made, and the command
that repeats it; `./bench` repeats all.
"""


def first_match(path, pattern):
    with open(path, encoding="utf-8") as f:
        found = re.search(pattern, f.read(), re.MULTILINE)
    return found.group(1) if found else "unknown"


def describe_host():
    cpu = first_match("/proc/cpuinfo", r"^model name\s*: (.*)$")
    kib = int(first_match("/proc/meminfo", r"^MemTotal:\s*(\d+)"))
    flags = first_match("/proc/cpuinfo", r"^flags\s*: (.*)$").split()
    system = os.uname()
    virtual = "a virtual machine" if "hypervisor" in flags else "bare metal"
    helps = "with" if {"vmx", "svm"} & set(flags) else "without"
    return (f"{cpu}, {os.cpu_count()} CPUs, {kib >> 20} GiB, {virtual} {helps} hardware virtualization, "
            f"Linux {system.release.split('-')[0]}")


def describe_qemu():
    out = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True)
    return out.stdout.split("\n", maxsplit=1)[0].replace("emulator version ", "")


def table(rows):
    columns = rows[0].COLUMNS
    rule = "|---|" + "---:|" * (len(columns) - 2) + "---|"
    lines = ["| " + " | ".join(columns) + " |", rule]
    return "\n".join(lines + ["| " + " | ".join(row.cells()) + " |" for row in rows])


def problems(sides):
    return [f"{'SKIP' if side.may_skip else 'FAIL'} {side.name}: {side.problem}"
            for side in sides if side.problem] + [f"FAIL: {side.row_problem}" for side in sides if side.row_problem]


def section(group, command, sides, rows, load):
    made = (f"`{command}`; load average {load[0]:.1f} before, {load[1]:.1f} after. "
            f"{describe_host()}; {describe_qemu()}.")
    parts = [f"## {group.TITLE}", group.ABOUT, made, table(rows)] + problems(sides)
    return "\n\n".join(parts) + "\n"


def write(path, order, new):
    """Replaces the sections of `new` (title: text), keeps the others, in the given order of titles."""
    sections = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            for part in re.split(r"^(?=## )", f.read(), flags=re.MULTILINE)[1:]:
                sections[part.split("\n", maxsplit=1)[0][3:]] = part.rstrip("\n") + "\n"
    sections.update(new)
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write("\n".join([HEAD] + [sections[title] for title in order if title in sections]))
    os.rename(path + ".new", path)
