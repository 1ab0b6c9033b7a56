"""The cost-report service: `GET /health` and `GET /report?month=2025-03`, each answered from the ledger.

Serves on a listening socket that it is handed (`--socket FD`), says on another one that it is ready
(`--ready FD`), and at SIGTERM finishes what it has begun, so that a reload need not drop a request.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import re
import signal
import socket
import sqlite3
import string
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from totals import Report, report  # type: ignore[import-not-found]  # they run from their own directory

ROOT = Path(__file__).resolve().parent
MONTH = re.compile(r"\d{4}-\d{2}")


def config() -> dict[str, Any]:
    """The configuration as it is now."""
    found: dict[str, Any] = json.loads((ROOT / "config/service.json").read_text(encoding="utf-8"))
    return found


def page(month: str) -> str:
    """The report of one month, through the template."""
    settings = config()
    found: Report = report(ROOT / settings["ledger"], month)
    lines = "\n".join(
        f"<tr><td>{html.escape(service)}</td><td>{cents / 100:.2f}</td></tr>" for service, cents in found.services
    )
    template = string.Template((ROOT / settings["template"]).read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(settings["title"]),
        month=month,
        rows=found.rows,
        lines=lines,
        cents=found.total,
        total=f"{found.total / 100:.2f} {settings['currency']}",
    )


def healthy() -> bool:
    """The newest month can be read and has entries."""
    settings = config()
    rows: int = report(ROOT / settings["ledger"], settings["newest"]).rows
    return rows > 0


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        try:
            if asked.path == "/health":
                well = healthy()
                self._answer(200 if well else 503, "ok" if well else "no entries")
                return
            month = parse_qs(asked.query).get("month", [""])[0]
            if asked.path != "/report" or not MONTH.fullmatch(month):
                self._answer(404, "GET /report?month=YYYY-MM")
                return
            self._answer(200, page(month))
        except (OSError, sqlite3.Error, ValueError, KeyError) as error:
            self._answer(503, f"{type(error).__name__}: {error}")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server names it
        """Ten requests a second are not worth a line each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--ready", type=int, required=True)
    asked = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=asked.socket)
    # Two workers accept on it during a reload: the one that comes second must not block.
    server.socket.setblocking(False)
    server.daemon_threads = False
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    os.write(asked.ready, b"ready")
    os.close(asked.ready)
    server.serve_forever(poll_interval=0.02)
    server.server_close()


if __name__ == "__main__":
    main()
