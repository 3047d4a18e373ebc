"""Reads YAML documents from standard input and prints them as one JSON list. Keys that stand twice are errors.

--kubernetes RELEASE  holds each document to the schema that Kubernetes publishes for its kind, and a KafkaTopic to the one
                      that Strimzi's own program wrote. Other kinds of other projects are only read, and must be among
                      those that the chart may use.
--compose             puts variables in as compose does where nobody set them, and holds the document to the schema of the
                      compose specification.
"""

import importlib.resources
import json
import pathlib
import re
import sys

import yaml

OF_OTHERS = {
    "keda.sh/v1alpha1 ScaledObject",
    "monitoring.coreos.com/v1 PrometheusRule",
    "monitoring.coreos.com/v1 ServiceMonitor",
}
VARIABLE = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")


class Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would quietly keep the last."""

    def construct_mapping(self, node, deep=False):
        own = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if id(node) not in self.merged:
            for key in own:
                if own.count(key) > 1:
                    raise yaml.YAMLError(f"the key {key!r} stands twice {node.start_mark}")
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node):
        # Afterwards what was merged stands before a mapping's own keys, which then win.
        super().flatten_mapping(node)
        self.merged.add(id(node))

    merged = set()


def check(document, release):
    import kubernetes_validate

    name = f"{document['apiVersion']} {document['kind']}"
    if name in OF_OTHERS:
        return
    if document["kind"] == "KafkaTopic":
        return check_topic(name, document)
    try:
        kubernetes_validate.validate(document, release, strict=True)
    except Exception as error:  # its own errors have no common class
        sys.exit(f"{name} {document['metadata'].get('name')}: {type(error).__name__}: {error}")


def closed(schema):
    """A schema by which a field that it does not know is an error: an API server would quietly drop it."""
    if "properties" in schema:
        schema["additionalProperties"] = False
        for field in schema["properties"].values():
            closed(field)
    return schema


def check_topic(name, document):
    import jsonschema

    definition = yaml.safe_load((pathlib.Path(sys.prefix).parent / "strimzi/kafkatopic.yaml").read_text())["spec"]
    known = {f"{definition['group']}/{version['name']}": version for version in definition["versions"]}
    if document["apiVersion"] not in known:
        sys.exit(f"{name} is none of {', '.join(known)}")
    try:
        jsonschema.validate(document, closed(known[document["apiVersion"]]["schema"]["openAPIV3Schema"]))
    except jsonschema.ValidationError as error:
        sys.exit(f"{name} {document['metadata'].get('name')}: {'/'.join(map(str, error.absolute_path))}: {error.message}")


def check_compose(document):
    import jsonschema

    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    try:
        jsonschema.validate(document, json.loads(vendored.read_text()))
    except jsonschema.ValidationError as error:
        sys.exit(f"{'/'.join(map(str, error.absolute_path))}: {error.message}")


def main():
    text, args = sys.stdin.read(), sys.argv[1:]
    if args == ["--compose"]:
        text = VARIABLE.sub(r"\1", text)
        if "${" in text.replace("$${", ""):
            sys.exit("a variable has no value of its own: write ${NAME:-VALUE}")
    documents = [document for document in yaml.load_all(text, Loader) if document is not None]
    for document in documents:
        if args[:1] == ["--kubernetes"]:
            check(document, args[1])
        elif args == ["--compose"]:
            check_compose(document)
    json.dump(documents, sys.stdout, default=str)


main()
