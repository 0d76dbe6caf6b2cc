#!/usr/bin/env python3
"""Pauses and resumes a guest fifty times: flood.py SOCKET. Each time is an event for all that listen."""
import json
import socket
import sys

s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(30)
s.connect(sys.argv[1])
greeting = json.loads(s.recv(65536))
if greeting["event"] != "hello":
    print(greeting["text"])
    sys.exit(1)
for i in range(100):
    s.send(json.dumps({"id": i, "command": ("pause", "resume")[i % 2]}).encode())
    reply = json.loads(s.recv(65536))
    if "result" not in reply:
        print(reply)
        sys.exit(1)
