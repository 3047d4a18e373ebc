"""Runs statements over Parquet files in DuckDB and prints the rows of the last one as JSON lines: query.py FOLDER < SQL"""

import json
import os
import sys

import duckdb

os.chdir(sys.argv[1])
connection = duckdb.connect(config={"threads": 2, "autoinstall_known_extensions": False})
connection.execute("SET TimeZone = 'America/St_Johns'")
cursor = connection.execute(sys.stdin.read())
names = [column[0] for column in cursor.description]
for row in cursor.fetchall():
    print(json.dumps(dict(zip(names, row)), default=str))
