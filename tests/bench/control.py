"""Talking to a guest that runs: posada by its own commands, QEMU by its QMP socket."""

import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time

from runner import BenchError, Run


class Posada:
    """A guest in a runtime directory of its own, and `posada COMMAND` on it."""

    NAME = "bench"

    def __init__(self, tools, guest, limit, argv=None):
        self.program = tools.program
        self.directory = tempfile.mkdtemp(prefix="posada-bench-")
        self.env = {"POSADA_RUNTIME_DIR": self.directory}
        argv = argv or tools.posada(guest, "soft") + ["--name", self.NAME]
        self.run = Run(argv, limit, self.env)

    def start(self, *words):
        """A command that goes on beside us: lines of the guest are timed when they are read."""
        return subprocess.Popen([self.program, *words], env=dict(os.environ, **self.env),
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def command(self, *words):
        """Seconds from the command's start to its end."""
        began = time.monotonic()
        done = subprocess.run([self.program, *words], env=dict(os.environ, **self.env), check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"posada {' '.join(words)}: {done.stderr.strip()}")
        return time.monotonic() - began

    def __enter__(self):
        self.run.__enter__()
        return self

    def __exit__(self, *error):
        self.run.__exit__(*error)
        shutil.rmtree(self.directory, ignore_errors=True)


class Qemu:
    """A guest with a QMP socket (QEMU's Machine Protocol)."""

    def __init__(self, tools, guest, limit, more=()):
        self.directory = tempfile.mkdtemp(prefix="posada-bench-")
        path = os.path.join(self.directory, "qmp")
        self.run = Run(tools.qemu(guest, "tcg") + ["-qmp", f"unix:{path},server=on,wait=off", *more],
                       limit)
        try:
            self.socket = self._connect(path)
            self.file = self.socket.makefile("rw", encoding="utf-8")
            self._read()  # the greeting
            self.command("qmp_capabilities")
        except BaseException:
            self.run.__exit__()
            raise

    def _connect(self, path):
        connection = socket.socket(socket.AF_UNIX)
        while True:
            try:
                connection.connect(path)
                return connection
            except OSError as e:
                if time.monotonic() > self.run.deadline:
                    raise BenchError("QEMU's socket never came") from e
                select.select([], [], [], 0.001)

    def _read(self):
        try:
            line = self.file.readline()
        except OSError:
            line = ""
        if not line:
            self.run.fail("QEMU closed its socket")
        return json.loads(line)

    def command(self, name, **arguments):
        self.file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = self._read()
            if "error" in answer:
                raise BenchError(f"QEMU: {name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def wait_event(self, name):
        while self._read().get("event") != name:
            pass

    def __enter__(self):
        self.run.__enter__()
        return self

    def __exit__(self, *error):
        self.file.close()
        self.socket.close()
        self.run.__exit__(*error)
        shutil.rmtree(self.directory, ignore_errors=True)
