"""Reads SQL in a warehouse's dialect, as sqlglot knows it, and prints what each statement makes, with its columns, as JSON
lines: statements.py DIALECT < SQL

Refused are a text that it cannot parse, a statement that it only takes for some command, a function that it does not know of the
dialect, and a view that reads a table or column which no statement before it made.
"""

import json
import sys

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.qualify import qualify


def columns(statement, made, dialect):
    if isinstance(statement.this, exp.Schema):
        return [column.name for column in statement.this.find_all(exp.ColumnDef)]
    query = statement.expression
    made_here = {cte.alias for cte in query.find_all(exp.CTE)}
    for table in query.find_all(exp.Table):
        if table.name not in made_here and table.name not in made.get(table.db, {}):
            sys.exit(f"no table {table.sql()} before {statement.this.sql()}")
    return qualify(query.copy(), schema=made, dialect=dialect).named_selects


def main(dialect):
    made = {}
    for statement in sqlglot.parse(sys.stdin.read(), dialect=dialect, error_level=sqlglot.ErrorLevel.RAISE):
        odd = [statement] if not isinstance(statement, exp.Create) else []
        odd += statement.find_all(exp.Command, exp.Anonymous)
        if odd:
            sys.exit(f"{dialect} has no such thing: {odd[0].sql()}")
        target = statement.find(exp.Table)
        if statement.kind != "SCHEMA":
            names = columns(statement, made, dialect)
            made.setdefault(target.db, {})[target.name] = dict.fromkeys(names, "VARCHAR")
            print(json.dumps({"kind": statement.kind, "name": target.name, "columns": names}))


main(sys.argv[1])
