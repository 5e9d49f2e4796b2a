#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
The last member of a shell pipeline: reads "n1", "n2", … from stdin and serves.

GET /answer   "in order" for ever
GET /check    "PASS" if no line was lost or repeated, and another one comes within 5 s
GET /health   "ok" once the first line came
"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

lines = threading.Condition()
last = 0
fault = None


def read_lines():
    global last, fault
    for line in sys.stdin:
        with lines:
            if line != f"n{last + 1}\n" and not fault:
                fault = f"after {last} came {line!r}"
            last += 1
            lines.notify_all()
    with lines:
        fault = fault or "the pipeline has ended"
        lines.notify_all()


def check():
    with lines:
        seen = last
        moved = lines.wait_for(lambda: fault or last > seen, 5)
        return fault or (None if moved else f"nothing comes after {seen}")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wrong = check() if self.path != "/health" else (None if last else "not yet")
        body = ("in order\n" if self.path == "/answer" else "PASS\n") if not wrong else f"FAIL {wrong}\n"
        self.send_response(503 if wrong else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


threading.Thread(target=read_lines, daemon=True).start()
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
