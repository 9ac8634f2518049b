"""Whether a call and its answer are what a description of tests/simulator/openapi says; AssertionError where not.

It knows of OpenAPI what the two descriptions use, and fails on what it does not find in them.
"""

import email.policy
import json
import re
from email import message_from_bytes
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import httpx
import jwt
import yaml
from jsonschema import Draft202012Validator, FormatChecker

OPENAPI = Path(__file__).parents[2] / "simulator" / "openapi"
OF_HTTP = {"host", "accept", "accept-encoding", "connection", "user-agent", "content-type", "content-length"}


class Description:
    """One of the descriptions, served below a base URL."""

    def __init__(self, name: str, base_url: str) -> None:
        self.document = yaml.safe_load((OPENAPI / f"{name}.yaml").read_text())
        self.base_url = base_url.rstrip("/")

    def operations(self) -> dict[str, dict[str, Any]]:
        """The operations by their id."""
        return {
            operation["operationId"]: operation
            for item in self.document["paths"].values()
            for name, operation in item.items()
            if name != "parameters"
        }

    def has(self, request: httpx.Request) -> bool:
        """Whether a request is meant for this service."""
        return str(request.url).startswith(f"{self.base_url}/")

    def check(self, response: httpx.Response) -> str:
        """Check an answer and the request that it holds; return the operation's id."""
        item, operation, path = self._find(response.request)
        declared = [
            self._resolve(one) for one in [*item.get("parameters", []), *operation.get("parameters", [])]
        ]
        self._check_parameters(declared, path, response.request)
        if "security" in self.document:
            assert re.fullmatch(r"Bearer [\x21-\x7e]+", response.request.headers["Authorization"])
        self._check_body(operation.get("requestBody"), response.request)
        self._check_answer(operation["responses"], response)
        return operation["operationId"]

    def validate(self, value: Any, schema: dict[str, Any]) -> None:
        """Raise unless a value meets a schema, whose references are those of the document."""
        whole = schema | {"components": self.document["components"]}
        errors = list(Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(value))
        assert not errors, errors

    def _find(self, request: httpx.Request) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
        assert self.has(request), request.url
        url = str(request.url.copy_with(query=None))
        for template, item in self.document["paths"].items():
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template))
            if match := re.fullmatch(pattern, url.removeprefix(self.base_url)):
                return item, item[request.method.lower()], match.groupdict()
        raise AssertionError(f"no such path: {url}")

    def _check_parameters(
        self, declared: list[dict[str, Any]], path: dict[str, str], request: httpx.Request
    ) -> None:
        query = {name: value for name, (value,) in parse_qs(request.url.query.decode()).items()}
        sent = {"path": path, "query": query, "header": request.headers}
        for one in declared:
            value = sent[one["in"]].get(one["name"])
            assert value is not None or not one.get("required"), one["name"]
            if value is not None:
                self.validate(unquote(value) if one["in"] == "path" else value, one["schema"])
        assert query.keys() <= {one["name"] for one in declared if one["in"] == "query"}
        headers = {one["name"].lower() for one in declared if one["in"] == "header"}
        assert set(request.headers) <= headers | OF_HTTP | {"authorization"}

    def _check_body(self, declared: dict[str, Any] | None, request: httpx.Request) -> None:
        if declared is None:
            assert request.content == b""
            assert "Content-Type" not in request.headers
            return
        ((media_type, content),) = declared["content"].items()
        assert request.headers["Content-Type"].partition(";")[0] == media_type
        if media_type == "multipart/form-data":
            fields = _read_multipart(request, content["encoding"])
        else:
            read = parse_qs(request.content.decode(), strict_parsing=True)
            fields = {name: value for name, (value,) in read.items()}
        self.validate(fields, content["schema"])
        if "assertion" in fields:
            header = {"$ref": "#/components/schemas/AssertionHeader"}
            self.validate(jwt.get_unverified_header(fields["assertion"]), header)
            claims = jwt.decode(fields["assertion"], options={"verify_signature": False})
            self.validate(claims, {"$ref": "#/components/schemas/AssertionClaims"})
            assert 0 < claims["exp"] - claims["iat"] <= 120

    def _check_answer(self, declared: dict[str, Any], response: httpx.Response) -> None:
        assert str(response.status_code) in declared, response.status_code
        answer = self._resolve(declared[str(response.status_code)])
        for name in answer.get("headers", {}):
            assert (
                response.headers.get(name, response.request.headers[name]) == response.request.headers[name]
            )
        content = answer.get("content")
        if content is None:
            return
        media_type = response.headers.get("Content-Type", "").partition(";")[0]
        assert media_type in content or "*/*" in content, media_type
        if media_type in content:
            self.validate(json.loads(response.content), content[media_type]["schema"])

    def _resolve(self, value: dict[str, Any]) -> dict[str, Any]:
        target: Any = self.document
        for name in value.get("$ref", "#").split("/")[1:]:
            target = target[name]
        return value if target is self.document else target


def _read_multipart(request: httpx.Request, encoding: dict[str, Any]) -> dict[str, str]:
    """The fields of a form; a field with an encoding of its own must stand in just that frame."""
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    message = message_from_bytes(head + request.content, policy=email.policy.HTTP)
    fields = {}
    for part in message.iter_parts():
        assert not part.defects
        name = part.get_param("name", header="Content-Disposition")
        assert name not in fields
        fields[name] = part.get_payload(decode=True).decode()
        disposition = {"Content-Disposition": f'form-data; name="{name}"'}
        if name in encoding:
            example = encoding[name]["headers"]["Content-Disposition"]["example"]
            disposition = {"Content-Disposition": example, "Content-Type": encoding[name]["contentType"]}
        assert dict(part.items()) == disposition
    return fields
