"""The OpenAPI description of the register and of the token endpoint, and whether a request is as it says."""

import re
from collections.abc import Iterator, Mapping
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import yaml
from jsonschema import Draft202012Validator, FormatChecker

from tests.simulator.identifiers import is_identifier
from tests.simulator.messages import Request

DESCRIPTION: Mapping[str, Any] = yaml.safe_load((Path(__file__).parent / "openapi.yaml").read_text())

FORMATS = FormatChecker(["date", "uuid"])
FORMATS.checks("customer-id")(is_identifier)


def flaws_of(request: Request, *, base_url: str, issuer: str) -> list[str]:
    """What in a request is not as described; no value of it is repeated."""
    found = _find(request, base_url, issuer)
    if found is None:
        return ["there is no such operation"]
    operation, in_path = found
    return [*_flaws_of_parameters(operation, in_path, request), *_flaws_of_body(operation, request)]


def _find(request: Request, base_url: str, issuer: str) -> tuple[dict[str, Any], dict[str, str]] | None:
    """The operation, with its path's parameters, and what the request's path gives for them."""
    url = f"{request.origin}{request.path}"
    for template, item in DESCRIPTION["paths"].items():
        base = issuer.rstrip("/") if "servers" in item else base_url
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
        match = re.fullmatch(re.escape(base) + pattern, url)
        operation = item.get(request.method.lower())
        if match and operation:
            parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
            return operation | {"parameters": [_resolve(each) for each in parameters]}, match.groupdict()
    return None


def _resolve(node: dict[str, Any]) -> dict[str, Any]:
    found: Any = DESCRIPTION
    for step in node.get("$ref", "#").split("/")[1:]:
        found = found[step]
    return found if "$ref" in node else node


def _flaws_of_parameters(
    operation: Mapping[str, Any], in_path: Mapping[str, str], request: Request
) -> Iterator[str]:
    query = parse_qs(request.query, keep_blank_values=True, strict_parsing=bool(request.query))
    given = {
        "path": dict(in_path),
        "query": {name: values[0] for name, values in query.items() if len(values) == 1},
        "header": dict(request.headers),
    }
    known = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
    yield from (
        f"query {name} is not described or stands twice"
        for name in set(query) - known | set(query) - set(given["query"])
    )
    for each in operation["parameters"]:
        name = each["name"].lower() if each["in"] == "header" else each["name"]
        value = given[each["in"]].get(name)
        if value is not None:
            yield from _flaws_of_value(f"{each['in']} {each['name']}", each["schema"], value)
        elif each.get("required"):
            yield f"{each['in']} {each['name']} is missing"
    wants_token = operation.get("security", DESCRIPTION["security"]) != []
    if bool(re.fullmatch(r"Bearer [!-~]+", request.headers.get("authorization", ""))) is not wants_token:
        yield f"header Authorization is {'no token' if wants_token else 'not described'}"


def _flaws_of_body(operation: Mapping[str, Any], request: Request) -> Iterator[str]:
    if "requestBody" not in operation:
        if request.body:
            yield "there is a body"
        return
    content_type = request.headers.get("content-type", "")
    described = operation["requestBody"]["content"].get(content_type.partition(";")[0])
    if described is None:
        yield "the body is of another type"
        return
    if content_type.startswith("multipart/"):
        if '"' in content_type:
            yield "the boundary is quoted"
        parts = BytesParser(policy=HTTP).parsebytes(
            f"Content-Type: {content_type}\r\n\r\n".encode() + request.body
        )
        fields = {}
        for part in parts.iter_parts():
            name = str(part["Content-Disposition"].params.get("name"))
            fields[name] = part.get_payload()
            wanted = described.get("encoding", {}).get(name, {}).get("contentType")
            if wanted and (part.get_content_type() != wanted or part.get_filename() != "customers.csv"):
                yield f"part {name} is of another type or name"
    else:
        fields = {name: values[0] for name, values in parse_qs(request.body.decode("ascii")).items()}
    yield from _flaws_of_value("body", described["schema"], fields)


def _flaws_of_value(where: str, schema: Mapping[str, Any], value: Any) -> Iterator[str]:
    for error in Draft202012Validator(schema, format_checker=FORMATS).iter_errors(value):
        field = "".join(f" {step}" for step in error.path)
        yield f"{where}{field} breaks {error.validator}"
