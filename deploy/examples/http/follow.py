#!/usr/bin/env python3
"""Keeps a copy of Quell's suppressions in SQLite, by the stream GET /v1/deltas. Python's standard library is enough.

    QUELL_TOKEN=... ./follow.py http://localhost:8081 suppressions.db [--tenant NAME] [--once]

The cursor is written in the same transaction as what came with it: however often this program is killed, or its connection
cut, no change is missed and none is applied twice. With --once it ends when it has caught up.

    sqlite3 suppressions.db "SELECT recipient, scope, reason, until FROM suppression"
"""

import argparse
import http.client
import json
import os
import sqlite3
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

WAIT_MS = 20_000
AT_ONCE = 5_000

TABLES = """
CREATE TABLE IF NOT EXISTS suppression (
  channel TEXT NOT NULL, recipient TEXT NOT NULL, scope TEXT NOT NULL, address TEXT NOT NULL, reason TEXT NOT NULL,
  since TEXT NOT NULL, until TEXT, position INTEGER NOT NULL, PRIMARY KEY (channel, recipient, scope));
CREATE TABLE IF NOT EXISTS change (
  delta_id TEXT PRIMARY KEY, change TEXT NOT NULL, channel TEXT NOT NULL, recipient TEXT NOT NULL, scope TEXT NOT NULL,
  decided_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS place (cursor TEXT NOT NULL);
"""


class CutOff(Exception):
    """The answer ended before its end."""


class Quell:
    """The lookup API."""

    def __init__(self, url, token, tenant):
        self.url, self.token, self.tenant = url.rstrip("/"), token, tenant

    def open(self, path, **query):
        if self.tenant:
            query["tenant"] = self.tenant
        request = urllib.request.Request(f"{self.url}{path}?{urllib.parse.urlencode(query)}")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        # Longer than the stream is silent while it waits for more.
        return urllib.request.urlopen(request, timeout=WAIT_MS / 1000 + 30)


def lines(answer):
    """Whole lines as they come. Whoever reads must tell by the last one whether it was all."""
    rest = b""
    while True:
        try:
            piece = answer.read1(65_536)
        except (OSError, http.client.HTTPException) as error:
            raise CutOff(str(error)) from error
        if not piece:
            break
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield json.loads(line)


def put(database, told):
    """A line of the export, or a delta that leaves something in force."""
    standing = told.get("now") or told
    database.execute(
        "INSERT OR REPLACE INTO suppression VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (told["channel"], told["recipient"], told["scope"], told["address"], standing["reason"], standing["since"],
         standing["until"], told["position"]))


def begin(quell, database):
    """A copy from scratch: the cursor first, so that what changes while the copy is made comes after it."""
    with quell.open("/v1/deltas", after="now", max=0) as answer:
        cursor = answer.headers["quell-cursor"]
        answer.read()
    with database, quell.open("/v1/export") as answer:
        database.execute("DELETE FROM suppression")
        for line in lines(answer):
            put(database, line)
        set_cursor(database, cursor)
    return cursor


def set_cursor(database, cursor):
    database.execute("DELETE FROM place")
    database.execute("INSERT INTO place VALUES (?)", (cursor,))


def apply(database, delta):
    """Folds one delta. A copy may be ahead of it: then its row bears a later position."""
    key = (delta["channel"], delta["recipient"], delta["scope"])
    # Fails if it was applied before, which cannot be.
    database.execute("INSERT INTO change VALUES (?, ?, ?, ?, ?, ?)", (delta["delta_id"], delta["change"], *key,
                                                                      delta["decided_at"]))
    known = database.execute(
        "SELECT position FROM suppression WHERE channel = ? AND recipient = ? AND scope = ?", key).fetchone()
    if known and known[0] >= delta["position"]:
        return
    if delta["now"]:
        put(database, delta)
    else:
        database.execute("DELETE FROM suppression WHERE channel = ? AND recipient = ? AND scope = ?", key)


def follow(quell, database, cursor, wait_ms):
    """One stream. Gives back the new cursor, and how many deltas came."""
    came = 0
    with quell.open("/v1/deltas", after=cursor, max=AT_ONCE, wait_ms=wait_ms) as answer:
        for line in lines(answer):
            if "delta_id" not in line:
                # The last line holds a cursor alone; it may have moved past deltas of others.
                with database:
                    set_cursor(database, line["cursor"])
                return line["cursor"], came
            with database:
                apply(database, line)
                set_cursor(database, line["cursor"])
            came += 1
    raise CutOff("the stream ended without its last line")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("url")
    arguments.add_argument("database")
    arguments.add_argument("--tenant")
    arguments.add_argument("--once", action="store_true")
    given = arguments.parse_args()
    quell = Quell(given.url, os.environ.get("QUELL_TOKEN"), given.tenant)
    database = sqlite3.connect(given.database)
    database.executescript(TABLES)
    pause = 1
    while True:
        found = database.execute("SELECT cursor FROM place").fetchone()
        try:
            cursor = found[0] if found else begin(quell, database)
            _, came = follow(quell, database, cursor, 0 if given.once else WAIT_MS)
            pause = 1
            if given.once and came == 0:
                return
        except urllib.error.HTTPError as error:
            if error.code == 410:
                print("what follows the cursor is no longer kept: copying anew", file=sys.stderr)
                with database:
                    database.execute("DELETE FROM place")
                continue
            if error.code in (400, 401, 403, 404):
                sys.exit(f"Quell answers {error.code}: {error.read(500).decode(errors='replace')}")
            pause = wait(pause, f"Quell answers {error.code}")
        except (OSError, http.client.HTTPException, CutOff) as error:
            pause = wait(pause, error)


def wait(pause, why):
    print(f"{why}; going on in {pause} s", file=sys.stderr)
    time.sleep(pause)
    return min(pause * 2, 60)


if __name__ == "__main__":
    main()
