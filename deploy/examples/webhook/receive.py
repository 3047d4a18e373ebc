#!/usr/bin/env python3
"""Receives Quell's webhooks: verifies them, and keeps each once. Python's standard library is enough.

    WEBHOOK_SECRETS="whsec_... whsec_..." ./receive.py 8000 webhooks.db

One secret is enough; with two, webhooks signed by either are taken, as while one replaces the other. Answers 204 once a
webhook is kept, and 204 again for one that was kept before: Quell posts each at least once, under the same webhook-id.

Stands behind a server that ends TLS; Quell posts to https:// only, unless the subscriber says `allow_private`.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import sqlite3
import sys
import time

BODY_BYTES_MAX = 4 * 1024 * 1024
#: Seconds by which the sender's clock and ours may differ, and a webhook may be under way.
TOLERANCE = 300

TABLE = """CREATE TABLE IF NOT EXISTS webhook (
  number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, type TEXT NOT NULL, timestamp TEXT NOT NULL, data TEXT NOT NULL)"""


def verified(keys, headers, body):
    """Whether one of the signatures is right by one of the keys, and the webhook fresh (Standard Webhooks)."""
    webhook_id, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent.isdigit() or abs(time.time() - int(sent)) > TOLERANCE:
        return False
    signed = f"{webhook_id}.{sent}.".encode() + body
    found = False
    for signature in headers.get("webhook-signature", "").split():
        version, _, given = signature.partition(",")
        for key in keys:
            right = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
            found |= version == "v1" and hmac.compare_digest(right, given)
    return found


class Receiver(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    keys, path_of_database = [], ""

    def do_POST(self):
        length = int(self.headers.get("content-length") or 0)
        if not 0 < length <= BODY_BYTES_MAX:
            return self.answer(413)
        body = self.rfile.read(length)
        if not verified(self.keys, self.headers, body):
            return self.answer(401)
        message = json.loads(body)
        database = sqlite3.connect(self.path_of_database, timeout=30)
        with database:
            # Here the work is done, in the same transaction: so it is done once.
            database.execute(
                "INSERT OR IGNORE INTO webhook (id, type, timestamp, data) VALUES (?, ?, ?, ?)",
                (self.headers["webhook-id"], message["type"], message["timestamp"], json.dumps(message["data"])))
        database.close()
        return self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Nothing: bodies hold addresses."""


def main():
    if len(sys.argv) != 3 or not os.environ.get("WEBHOOK_SECRETS"):
        sys.exit(__doc__)
    secrets = os.environ["WEBHOOK_SECRETS"].split()
    Receiver.keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    Receiver.path_of_database = sys.argv[2]
    database = sqlite3.connect(sys.argv[2])
    with database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(TABLE)
    database.close()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    server.serve_forever()


if __name__ == "__main__":
    main()
