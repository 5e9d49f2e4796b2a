#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A server that says when it is ready, as a service of Type=notify does. Stands for your engine."""

import http.server
import os
import socket

HOST, PORT = "127.0.0.1", 8000


def say_ready():
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", "\0" + path[1:] if path[0] == "@" else path)


server = http.server.HTTPServer((HOST, PORT), http.server.SimpleHTTPRequestHandler)
say_ready()
server.serve_forever()
