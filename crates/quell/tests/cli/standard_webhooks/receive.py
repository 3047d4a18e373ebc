"""Receives webhooks on a port of loopback, and verifies each by the library of Standard Webhooks with every secret given:

    receive.py PORT SECRET...

Prints one JSON line for each: its id, and for each secret the type it tells of, or null where the library refuses it."""

import http.server
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def told(secret, body, headers):
    try:
        return Webhook(secret).verify(body, headers)["type"]
    except WebhookVerificationError:
        return None


class Receiver(http.server.BaseHTTPRequestHandler):
    secrets = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        line = {"id": headers.get("webhook-id"), "types": [told(secret, body, headers) for secret in self.secrets]}
        # A body that somebody changed on the way.
        line["changed"] = [told(secret, body.replace(b"quell", b"Quell"), headers) for secret in self.secrets]
        print(json.dumps(line), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """Nothing: what is printed is read by a test."""


Receiver.secrets = sys.argv[2:]
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
