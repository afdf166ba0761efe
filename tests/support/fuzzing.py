"""Requests made up from the OpenAPI document: right, nearly right and hostile, from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fiveobs.monitor.api.document import operations
from fiveobs.monitor.api.valid import resolved
from tests.support.asgi import WEBSOCKET
from tests.support.tenants import PROJECTS, Holder, Tenants, job_ids, names

__all__ = ["Made", "Maker"]

HOSTILE = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\n",
        ",",
        "*",
        "-",
        "..",
        "%",
        "%2F",
        "'; DROP TABLE jobs; --",
        "ü語",
    ),
    *("-1", "0", "9" * 18, "9" * 40, "1e309", "NaN", "null", "true", "[]", "{}", "${jndi:x}"),
    *("x" * 257, "é" * 300, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
    *("2024-02-30T00:00:00Z", "2024-01-20T10:30:00+23:59", "2024-01-20", "\U0010ffff", "\ufeff"),
)
#: Beside texts, what JSON has.
ODD = (None, True, 0, -1, 2**63, 10**40, 1e308, 0.5, [], {}, [[]], {"a": {"b": []}}, ["\0"])
#: Bytes of a path or query that are no text.
RAW = ("%FF", "%C3%28", "%ED%A0%80", "%00", "%", "%zz")
URLS = ("https://hooks.invalid/x", "http://127.0.0.1/", "http://[::1]:99/", "ftp://x", "x")
#: What a request is always about: who may ask is judged by them.
ROOTS = ("tenantId", "projectId")
NAMES = ("service", "jobName", "sessionId", "submittedBy")
#: Names of lists, and of what is in them.
SINGLE = {
    "jobIds": "jobId",
    "jobNames": "jobName",
    "services": "service",
    "workflow_id": "jobName",
}
#: What must be true before something is set.
CONDITIONS = {"If-Match": ("*", "*", '"1"', '"2"', "x"), "If-None-Match": ("*",)}
GARBAGE = (b"{", b"\xff\xfe", b'"\\ud800"', b"[" * 2_000, b"nul", b'{"a": NaN}', b"0" * 3_000)


@dataclass(frozen=True, kw_only=True)
class Made:
    """One request, and what is to be known of it."""

    operation: Mapping[str, Any]
    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    holder: Holder
    tenant_id: str
    project_id: str

    @property
    def is_allowed(self) -> bool:
        """Whether its sender may do it, if there is nothing wrong with it."""
        role = self.operation.get("x-fiveobs-role")
        ranks = ("viewer", "operator", "admin")
        return self.holder.sees(self.tenant_id, self.project_id) and (
            role is None or ranks.index(self.holder.role or "viewer") >= ranks.index(role)
        )


class Maker:
    """Makes requests.

    Args:
        found: Whose jobs there are, and who asks.
        seed: The same makes the same.
    """

    def __init__(self, found: Tenants, seed: int) -> None:
        self._random = random.Random(seed)
        self._document = found.app.openapi()
        self._holders = found.holders
        self._operations = [
            (path, method, operation)
            for path, method, operation in operations(self._document)
            if path.startswith("/api/")
        ]
        #: Ids and names by project: what anybody may have heard of.
        self._known = {
            place: {
                "jobId": job_ids(*place),
                "job_uuid": job_ids(*place),
                "execution_id": job_ids(*place),
                "entityId": job_ids(*place),
                "subscriptionId": list(found.subscription_ids[place]),
                "ruleId": list(found.rule_ids[place]),
                **{name: [each] for name, each in zip(NAMES, names(*place), strict=True)},
            }
            for place in PROJECTS
        }
        #: The project that the present request is about.
        self._place = PROJECTS[0]

    def make(self) -> Made:
        """The next one."""
        chance = self._random
        path, method, operation = chance.choice(self._operations)
        tenant_id, project_id = self._place = chance.choice(PROJECTS)
        given = {"tenantId": tenant_id, "projectId": project_id}
        parameters = operation.get("parameters", ())
        for each in parameters:
            if each["in"] == "path" and each["name"] not in given:
                given[each["name"]] = self._text(each["name"], each["schema"])
        for name, value in given.items():
            quoted = quote(value, safe="").replace(".", "%2E")
            raw = chance.choice(RAW) if name.endswith("Id") and chance.random() < 0.01 else ""
            path = path.replace(f"{{{name}}}", quoted + (raw if name not in ROOTS else ""))
        headers = {"Last-Event-ID": chance.choice(("0", "1", "x"))} if self._rarely() else {}
        headers |= self._conditions(parameters)
        return Made(
            operation=operation,
            method=WEBSOCKET if method == "websocket" else method.upper(),
            url="?".join(filter(None, (path, "&".join(self._query(parameters))))),
            headers=headers,
            body=self._body(operation),
            holder=self._holder(tenant_id, project_id),
            tenant_id=tenant_id,
            project_id=project_id,
        )

    def learn(self, made: Made, answer: Mapping[str, Any]) -> None:
        """There is one more subscription or rule; the newest are remembered."""
        name = "ruleId" if "ruleId" in answer else "subscriptionId"
        ids = self._known[made.tenant_id, made.project_id][name]
        ids[:-9] = []
        ids.append(answer[name])

    def _heard(self, name: str) -> str | None:
        """Something of that name, more often than not of the project that is asked."""
        place = self._place if self._random.random() < 0.6 else self._random.choice(PROJECTS)
        found = self._known[place].get(SINGLE.get(name, name))
        return self._random.choice(found) if found else None

    def _holder(self, tenant_id: str, project_id: str) -> Holder:
        """Half of them see the project: else nearly nothing would get anywhere."""
        seeing = [each for each in self._holders if each.sees(tenant_id, project_id)]
        return self._random.choice(seeing if self._random.random() < 0.5 else self._holders)

    def _rarely(self) -> bool:
        return self._random.random() < 0.05

    def _conditions(self, parameters: Any) -> dict[str, str]:
        """Half of the time what is known of a version, more often than not one of the two."""
        found = {each["name"] for each in parameters if each["in"] == "header"}
        return {
            name: self._random.choice(values)
            for name, values in CONDITIONS.items()
            if name in found and self._random.random() < 0.5
        }

    def _query(self, parameters: Any) -> Iterator[str]:
        for each in parameters:
            if each["in"] == "query" and each["name"] in ROOTS:
                yield f"{each['name']}={quote(self._place[ROOTS.index(each['name'])])}"
                continue
            if each["in"] != "query" or self._random.random() < 0.7:
                continue
            schema = resolved(self._document, each["schema"])
            many = self._random.randint(1, 3) if schema.get("type") == "array" else 1
            for _ in range(many):
                value = quote(self._text(each["name"], schema.get("items", schema)), safe="")
                yield f"{each['name']}={self._random.choice(RAW) if self._rarely() else value}"
        if self._rarely():
            yield f"{self._random.choice(('lvl', 'token', ''))}=x"

    def _text(self, name: str, schema: Mapping[str, Any]) -> str:
        if self._random.random() < 0.1:
            return self._random.choice(HOSTILE)
        if (heard := self._heard(name)) is not None:
            return heard
        value = self._value(name, schema)
        return value if isinstance(value, str) else json.dumps(value)

    def _body(self, operation: Mapping[str, Any]) -> bytes:
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None or self._rarely():
            return self._random.choice(GARBAGE) if self._rarely() else b""
        is_usual = self._random.random() < 0.3
        value = content["example"] if is_usual else self._value("", content["schema"])
        return json.dumps(value).encode()

    def _value(self, name: str, schema: Mapping[str, Any]) -> Any:
        """A value that mostly is what a schema says."""
        chance = self._random
        if chance.random() < 0.03:
            return chance.choice(ODD + HOSTILE)
        schema = resolved(self._document, schema)
        if "enum" in schema or "const" in schema:
            return chance.choice(schema.get("enum", [schema.get("const")]))
        makers = {"object": self._object, "array": self._list, "boolean": self._flag}
        makers |= {"integer": self._number, "number": self._fraction}
        return makers.get(schema.get("type", ""), self._string)(name, schema)

    def _list(self, name: str, schema: Mapping[str, Any]) -> list[Any]:
        few = range(self._random.randint(0, 3))
        return [self._value(name, schema.get("items", {})) for _ in few]

    def _number(self, _name: str, schema: Mapping[str, Any]) -> int:
        return self._random.randint(schema.get("minimum", -9), schema.get("maximum", 10**6))

    def _fraction(self, _name: str, schema: Mapping[str, Any]) -> float:
        return self._random.uniform(schema.get("minimum", -9), schema.get("maximum", 10**6))

    def _flag(self, _name: str, _schema: Mapping[str, Any]) -> bool:
        return self._random.random() < 0.3

    def _object(self, _name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        needed = schema.get("required", ())
        found = {
            name: self._value(name, each)
            for name, each in schema.get("properties", {}).items()
            if self._random.random() < (0.97 if name in needed else 0.4)
        }
        return {**found, "lvl": 1} if self._rarely() else found

    def _string(self, name: str, schema: Mapping[str, Any]) -> str:
        if schema.get("format") == "date-time":
            second = self._random.randint(0, 59)
            return f"2026-01-02T03:04:{second:02d}Z"
        if name == "webhookUrl":
            return self._random.choice(URLS)
        return self._heard(name) or self._random.choice(("0", "x", "job.*", "cpu,memory"))
