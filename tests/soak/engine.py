"""Stands in for llama-server where a start must take milliseconds: healthy, flapping or noisy.

What it does is read from the file that SOAK_MOOD names, at every question, so that a running
server can be made ill.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KEY = os.environ.get("LLAMA_API_KEY", "")
MOOD = Path(os.environ["SOAK_MOOD"])


class Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def is_ill(self) -> bool:
        return MOOD.read_text() == "flapping" and int(time.monotonic() * 20) % 2 == 0

    def do_GET(self) -> None:
        if self.is_ill():
            self.answer(503, {"error": {"message": "Loading model", "code": 503}})
        else:
            self.answer(200, {"status": "ok"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self.answer(401, {"error": {"message": "Invalid API Key", "code": 401}})
        else:
            self.answer(200, {"choices": [{"text": " world"}], "usage": {"completion_tokens": 1}})


def chatter() -> None:
    """Fill the log as a busy server does in a day."""
    line = "slot update_slots: id  0 | task 1 | " + "x" * 900
    while True:
        if MOOD.read_text() == "noisy":
            sys.stdout.write(f"{line}\n" * 512)
            sys.stdout.flush()
        time.sleep(0.01)


def main() -> None:
    if "--version" in sys.argv:
        print("version: 11434 (abcdef12)")
        return
    if "--list-devices" in sys.argv:
        print("Available devices:")
        return
    port = int(sys.argv[sys.argv.index("--port") + 1])
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print("srv  llama_server: model loaded", flush=True)
    threading.Thread(target=chatter, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
