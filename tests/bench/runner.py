"""Runs one program with its guest: output lines as they come, times, CPU time of all its processes.

A run has a time limit and ends what it started by process id. CPU time is user and system time of the
program and of all its children, which it must wait for: wait4 then gives the sum. In the middle of a
run, a sample adds up the CPU clocks of the living processes of its tree.
"""

import os
import select
import signal
import time


class BenchError(Exception):
    """A run that didn't do what it should; the text says what, and ends with its last output."""


class BenchSkip(BenchError):
    """A figure that can't be had here; the text says why."""


class Line:
    """A line that the program wrote: its text, when it came, and the tree's CPU time by then."""

    def __init__(self, text, wall, cpu):
        self.text = text
        self.wall = wall  # seconds from the start of the program
        self.cpu = cpu


class Result:
    def __init__(self):
        self.lines = []
        self.first_byte = None  # seconds from exec
        self.wall = None
        self.cpu = None
        self.status = None
        self.errors = ""

    def find_all(self, text):
        """The lines that start with text."""
        return [line for line in self.lines if line.text.startswith(text)]

    def find(self, text):
        """The first of them."""
        for line in self.find_all(text):
            return line
        raise BenchError(f"the guest never said '{text}'\n{self.tail()}")

    def tail(self):
        return "\n".join([line.text for line in self.lines[-8:]] + [self.errors[-600:]])


def children_of(pid):
    """The process and all that descend from it, by /proc."""
    found = [pid]
    for process in found:
        try:
            for task in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{task}/children", encoding="ascii") as f:
                    found += [int(word) for word in f.read().split()]
        except OSError:
            pass  # it has just ended
    return found


def cpu_of(pid):
    """CPU time that the living processes of a tree have used, in seconds, by their CPU clocks."""
    total = 0.0
    for process in children_of(pid):
        try:
            # The clock id of a process: see clock_getcpuclockid(3).
            total += time.clock_gettime((~process << 3) | 2)
        except OSError:
            pass
    return total


class Run:
    """A program on its way. Use: `with Run(argv, limit) as run`, then wait_for and finish."""

    def __init__(self, argv, limit, env=None):
        self.result = Result()
        self.buffer = b""
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        self.err = os.memfd_create("stderr")
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, out_write, 1),
                   (os.POSIX_SPAWN_DUP2, self.err, 2)]
        environment = dict(os.environ, **(env or {}))
        self.started = time.monotonic()
        self.deadline = self.started + limit
        self.pid = os.posix_spawnp(argv[0], argv, environment, file_actions=actions)
        self.out = out_read
        self.is_open = True
        self.is_ended = False
        os.close(out_write)
        os.close(null)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.is_ended:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.out)
        os.close(self.err)

    def fail(self, why):
        self._read_errors()
        words = self.result.errors.strip().split("\n")[-1]
        raise BenchError(f"{why}{': ' if words else ''}{words}\n{self.result.tail()}")

    def _read_errors(self):
        size = os.fstat(self.err).st_size
        self.result.errors = os.pread(self.err, size, 0).decode(errors="replace")

    def _read(self):
        """Takes what the program writes next; false at the end of its output."""
        left = self.deadline - time.monotonic()
        if left <= 0 or not select.select([self.out], [], [], left)[0]:
            self.fail("the time limit is over")
        data = os.read(self.out, 65536)
        now = time.monotonic() - self.started
        if data and self.result.first_byte is None:
            self.result.first_byte = now
        self.buffer += data
        *whole, self.buffer = self.buffer.split(b"\n")
        cpu = cpu_of(self.pid) if any(line.startswith(b"bench: ") for line in whole) else None
        for line in whole:
            self.result.lines.append(Line(line.decode(errors="replace").strip("\r"), now, cpu))
        return bool(data)

    def wait_for(self, text, count=1):
        """Until the guest has written so many lines that start with text."""
        while len(self.result.find_all(text)) < count:
            if not self._read():
                self.fail(f"it ended before it said '{text}'")

    def wait_for_text(self, text):
        """Until it is there, also without the end of its line."""
        while text.encode() not in self.buffer and not any(text in line.text for line in self.result.lines[-64:]):
            if not self._read():
                self.fail(f"it ended before it said '{text}'")

    def used(self):
        """Wall and CPU time until now."""
        return time.monotonic() - self.started, cpu_of(self.pid)

    def wait_for_byte(self):
        while self.result.first_byte is None:
            if not self._read():
                self.fail("it ended before it wrote anything")

    def finish(self, statuses=(0,)):
        """Until the program has ended by itself, with one of these statuses."""
        while self._read():
            pass
        left = max(0.0, self.deadline - time.monotonic())
        pidfd = os.pidfd_open(self.pid)
        is_over = bool(select.select([pidfd], [], [], left)[0])
        os.close(pidfd)
        if not is_over:
            self.fail("the time limit is over")
        _, status, usage = os.wait4(self.pid, 0)
        self.is_ended = True
        self.result.wall = time.monotonic() - self.started
        self.result.cpu = usage.ru_utime + usage.ru_stime
        self.result.status = os.waitstatus_to_exitcode(status)
        self._read_errors()
        if self.result.status not in statuses:
            self.fail(f"exit status {self.result.status}")
        return self.result
