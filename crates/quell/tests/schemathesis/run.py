"""Puts the OpenAPI documents of the gateway and of the lookup API to the test on a running instance.

Starts `quell up` on a folder of its own, tells it a few webhooks so that there is something to ask for, and has
schemathesis send what the documents allow and what they do not: no answer may be a fault of the server (5xx), and each must
have a status, a content type and a body that its document names. The seed is fixed, so that two runs send the same.
"""

import argparse
import base64
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
DOCUMENTS = {"gateway": ROOT / "ingest-gateway/openapi.json", "lookup": ROOT / "suppressor/openapi.json"}
TOKEN = "schemathesis-" + secrets.token_hex(8)
UNSUBSCRIBE = base64.b64encode(secrets.token_bytes(32)).decode()
READY_WITHIN_S = 120
SOURCES = ["generic", "drip", "twilio", "sendgrid", "dsn"]
MESSAGE = "m-1@acme.example"


def configuration(folder, ports):
    gateway, lookup, admin = ports
    source = '[[source]]\nprovider = "{}"\nbearer = ["env:SCHEMATHESIS_TOKEN"]\n'
    return (
        f'data_dir = "{folder}/data"\n[gateway]\nlisten = "127.0.0.1:{gateway}"\n'
        f'[lookup]\nlisten = "127.0.0.1:{lookup}"\n'
        '[[lookup.token]]\nname = "schemathesis"\nsecret = "env:SCHEMATHESIS_TOKEN"\nrole = "write"\n'
        f'[admin]\nlisten = "127.0.0.1:{admin}"\n[logs]\nfilter = "warn"\n[unengaged]\nscheduled = false\n'
        + "".join(source.format(provider) for provider in SOURCES)
        + f'[unsubscribe]\nbase_url = "http://127.0.0.1:{gateway}"\n'
        '[[unsubscribe.key]]\nid = "2026a"\nsecret = "env:SCHEMATHESIS_UNSUBSCRIBE"\n'
    )


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def ask(url, body=None):
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def wait_for(what, is_there, process):
    until = time.monotonic() + READY_WITHIN_S
    while not is_there():
        if process.poll() is not None or time.monotonic() > until:
            sys.exit(f"{what} did not come; the log of quell is above")
        time.sleep(0.05)


def tell(gateway, lookup, process):
    """What the examples name: a message and two recipients; and a dead letter."""
    events = [
        {"id": "1", "kind": "bounced_hard", "recipient": "jane@example.com", "message_id": MESSAGE,
         "occurred_at": "2026-01-20T14:32:15Z", "failure": {"permanent": True, "diagnostic": "550 5.1.1 no such user"}},
        {"id": "2", "kind": "unsubscribed", "recipient": "+15551234567", "occurred_at": "2026-01-20T14:33:15Z"},
        {"id": "3"},
    ]
    status, answer = ask(f"{gateway}/webhooks/generic", json.dumps(events).encode())
    if status != 202:
        sys.exit(f"the gateway answered {status}: {answer.decode(errors='replace')}")
    found = lambda: b'"BOUNCED_HARD"' in ask(f"{lookup}/v1/messages/{MESSAGE}")[1]
    wait_for("the first event", found, process)
    return json.loads(answer)["receipt_id"]


def documents(folder, receipt, link):
    """The documents, with what exists in this instance where a made-up value would only ever be answered 404."""
    known = {"provider": [*SOURCES, "nobody"], "source": ["default", "nobody"]}
    found = {}
    for name, path in DOCUMENTS.items():
        document = json.loads(path.read_text())
        for place, item in document["paths"].items():
            operations = [value for value in item.values() if isinstance(value, dict)]
            for parameter in sum((operation.get("parameters", []) for operation in [item, *operations]), []):
                match parameter.get("name"), place:
                    case "id", "/v1/receipts/{id}":
                        parameter["example"] = receipt
                    case "id", "/v1/messages/{id}":
                        parameter["example"] = MESSAGE
                    case "address", _:
                        parameter["example"] = "jane@example.com"
                    case "token", _:
                        parameter["example"] = link
                    case ("provider" | "source") as known_name, _ if parameter["in"] == "path":
                        parameter["schema"] = {"enum": known[known_name]}
        found[name] = Path(folder) / f"{name}.json"
        found[name].write_text(json.dumps(document))
    return found


def examine(name, document, url, arguments, folder):
    command = [
        Path(sys.executable).parent / "schemathesis", "run", document, "--url", url, "--checks", CHECKS,
        "--phases", "examples,coverage,fuzzing", "--max-examples", str(arguments.examples), "--seed", str(arguments.seed),
        "--continue-on-failure", "--no-color", "--request-timeout", "60", "--header", f"Authorization:Bearer {TOKEN}",
    ]
    print(f"==> {name}", flush=True)
    # Its cache of failures lies in the folder it runs in.
    return subprocess.run([str(part) for part in command], cwd=folder, check=False).returncode


def figure(admin, name):
    text = ask(f"http://127.0.0.1:{admin}/metrics")[1].decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quell", type=Path, default=ROOT / "target/debug/quell")
    parser.add_argument("--examples", type=int, default=100, help="requests at most to an operation, in each phase")
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--only", choices=DOCUMENTS, help="only this document")
    arguments = parser.parse_args()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QUELL_")}
    environment |= {"SCHEMATHESIS_TOKEN": TOKEN, "SCHEMATHESIS_UNSUBSCRIBE": UNSUBSCRIBE}
    with tempfile.TemporaryDirectory(prefix="quell-schemathesis-") as folder:
        ports = free_ports(3)
        config = Path(folder) / "quell.toml"
        config.write_text(configuration(folder, ports))
        quell = [arguments.quell.resolve(), "--config", config]
        process = subprocess.Popen([*quell, "up"], env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        try:
            admin = f"http://127.0.0.1:{ports[2]}"
            urls = {"gateway": f"http://127.0.0.1:{ports[0]}", "lookup": f"http://127.0.0.1:{ports[1]}"}
            wait_for("quell up", lambda: ask(f"{admin}/readyz")[0] == 200, process)
            receipt = tell(urls["gateway"], urls["lookup"], process)
            made = subprocess.run([*quell, "unsubscribe-link", "jane@example.com", "-o", "json"], env=environment,
                                  check=True, capture_output=True)
            link = json.loads(made.stdout)["url"].rsplit("/", 1)[1]
            names = [arguments.only] if arguments.only else list(DOCUMENTS)
            found = documents(folder, receipt, link)
            codes = {name: examine(name, found[name], urls[name], arguments, folder) for name in names}
            if process.poll() is not None or ask(f"{admin}/livez")[0] != 200:
                sys.exit("quell did not live to see the end; its log is above")
            print(f"==> answered: {figure(ports[2], 'quell_gateway_webhooks_total'):.0f} webhooks")
        finally:
            process.terminate()
            process.wait(30)
    failed = [name for name, code in codes.items() if code != 0]
    sys.exit(f"the answers are not those of the document: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
