#!/usr/bin/env python3
"""Types at a program on a pseudo-terminal: terminal.py STEP... -- COMMAND...

Steps, in order: expect:REGEX, not:REGEX (so far, since the last expect), send:TEXT (with Python's
escapes), raw and cooked (is the terminal so?), signal:NAME, open:REGEX (a path in the output, whose
file becomes a second terminal), connect:PATH (likewise a Unix socket), peer-send:TEXT,
peer-expect:REGEX, end:STATUS. Says why and ends with 1 at the first step that fails.
"""
import fcntl
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios

LIMIT = 60  # seconds for a step


class Stream:
    """What came from a descriptor, and how far the steps have looked."""

    def __init__(self, fd):
        self.fd, self.data, self.is_open = fd, b"", True

    def read(self):
        if not select.select([self.fd], [], [], LIMIT)[0]:
            return False
        try:
            got = os.read(self.fd, 4096)
        except OSError:  # the other side of a pseudo-terminal has gone
            got = b""
        self.data += got
        self.is_open = bool(got)
        return True

    def expect(self, pattern):
        while True:
            found = re.search(pattern.encode(), self.data, re.S)
            if found:
                self.data = self.data[found.end():]
                return found
            if not self.is_open or not self.read():
                fail(f"'{pattern}' was not seen")

    def forbid(self, pattern):
        if re.search(pattern.encode(), self.data):
            fail(f"'{pattern}' was seen")


def fail(why):
    print(f"terminal: {why}; the rest of the output: {main.data[-600:]!r}")
    child.kill()
    child.wait()
    sys.exit(1)


def check_mode(is_raw):
    now = termios.tcgetattr(slave)
    if is_raw and now[3] & (termios.ICANON | termios.ECHO | termios.ISIG):
        fail("the terminal is not raw")
    if not is_raw and now != before:
        fail("the terminal is not as it was")


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    return Stream(s.detach())


def unescape(text):
    return text.encode().decode("unicode_escape").encode("latin-1")


def end(status):
    # We hold the terminal open too, so its end doesn't come: look for the child's, and let it print.
    try:
        while child.poll() is None and select.select([main.fd], [], [], 1)[0]:
            main.read()
        got = child.wait(LIMIT)
    except subprocess.TimeoutExpired:
        fail("it doesn't end")
    if got != int(status):
        fail(f"exit status {got}, not {status}")


split = sys.argv.index("--")
steps, command = sys.argv[1:split], sys.argv[split + 1:]
master, slave = pty.openpty()
before = termios.tcgetattr(slave)


def take_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, preexec_fn=take_terminal)
main, peer = Stream(master), None
for step in steps:
    what, _, text = step.partition(":")
    if what == "expect":
        main.expect(text)
    elif what == "not":
        main.forbid(text)
    elif what == "send":
        os.write(master, unescape(text))
    elif what in ("raw", "cooked"):
        check_mode(what == "raw")
    elif what == "signal":
        child.send_signal(getattr(signal, "SIG" + text))
    elif what == "open":
        path = main.expect(text).group(1)
        peer = Stream(os.open(path, os.O_RDWR | os.O_NOCTTY))
    elif what == "connect":
        if peer:
            os.close(peer.fd)
        peer = connect(text)
    elif what == "peer-send":
        os.write(peer.fd, unescape(text))
    elif what == "peer-expect":
        peer.expect(text)
    elif what == "end":
        end(text)
    else:
        sys.exit(f"terminal: no step '{what}'")
