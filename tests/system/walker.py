"""Someone who walks an institution in: fills the file in, makes connections, triggers, reads mails, approves."""

import email
import email.policy
import html
import io
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import yaml
from docx import Document
from openpyxl import load_workbook
from playwright.sync_api import Browser, expect

from kfr.clock import SystemClock, oslo_today
from tests import environment
from tests.system.airflow_api import wait_until
from tests.system.airflow_processes import USER
from tests.system.browser import open_page, picture, token_of
from tests.system.installation import Installation

RUN_SECONDS = 420
PARSE_SECONDS = 90
PRINTS = "KFR_PRINTS"  # environment variable: a folder that keeps what was read


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that has ended, or that waits for a person."""

    dag_id: str
    run_id: str
    state: str
    tasks: dict[str, str | None]


@dataclass
class Walker:
    """An installation and its people; without a `browser` they answer by Airflow's API."""

    installation: Installation
    browser: Browser | None
    include: Path
    folder: Path

    @property
    def prints(self) -> Path:
        kept = Path(os.environ.get(PRINTS) or self.folder / "prints")
        kept.mkdir(parents=True, exist_ok=True)
        return kept

    def keep(self, name: str, text: str) -> str:
        """Keep a text where it can be printed from."""
        (self.prints / name).write_text(text, encoding="utf-8")
        return text

    # The institution's file

    def write_file(self, **changes: Any) -> None:
        """Change fields of the institution's file."""
        path = self.include / "institution.yaml"
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(
            yaml.safe_dump({**said, **changes}, allow_unicode=True, sort_keys=False), encoding="utf-8"
        )

    def write_done(self, *task_ids: str, by: str = "Kari Nordmann") -> None:
        """Write tasks of the guide as done today."""
        tasks = yaml.safe_load((self.include / "institution.yaml").read_text(encoding="utf-8"))["tasks"]
        done = {"state": "done", "date": oslo_today(SystemClock()), "by": by}
        self.write_file(tasks={**tasks, **{task_id: dict(done) for task_id in task_ids}})

    # Airflow

    def make_connection(self, name: str, said: Mapping[str, Any], **changes: Any) -> None:
        """Make a connection as the form does, or change it."""
        body = {**said, **changes, "connection_id": name}
        if "extra" in body:
            body["extra"] = json.dumps(body["extra"])
        api = self.installation.airflow.api
        known = api.call("GET", "/connections", params={"limit": 100})["connections"]
        if any(one["connection_id"] == name for one in known):
            api.call("PATCH", f"/connections/{name}", json=body)
        else:
            api.call("POST", "/connections", json=body)

    def set_variable(self, name: str, value: str) -> None:
        self.installation.airflow.api.call("POST", "/variables", json={"key": name, "value": value})

    def start(self, dag_id: str, **params: Any) -> str:
        api = self.installation.airflow.api
        api.wait_for_dag(dag_id, within=PARSE_SECONDS)
        api.unpause(dag_id)
        return api.trigger(dag_id, params)

    def run(self, dag_id: str, **params: Any) -> Run:
        """Trigger a Dag and wait until its run has ended."""
        return self.ended(dag_id, self.start(dag_id, **params))

    def ended(self, dag_id: str, run_id: str) -> Run:
        api = self.installation.airflow.api
        state = api.wait_for_run(dag_id, run_id, RUN_SECONDS)
        tasks = {task_id: state for (task_id, _), state in api.task_states(dag_id, run_id).items()}
        return Run(dag_id=dag_id, run_id=run_id, state=state, tasks=tasks)

    def approve(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Read what is asked and approve it; return what was read."""
        airflow = self.installation.airflow
        airflow.api.wait_for_task(dag_id, run_id, task_id, ["awaiting_input"], RUN_SECONDS)
        airflow.wait_for_worker_end(dag_id, run_id, task_id)
        if self.browser is None:
            where = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/-1/hitlDetails"
            asked = str(airflow.api.call("GET", where)["body"])
            airflow.api.answer(dag_id, run_id, task_id, "Approve")
            return asked
        page = open_page(self.browser, airflow.url, self._token())
        run = quote(run_id, safe="")
        page.goto(f"{airflow.url}/dags/{dag_id}/runs/{run}/tasks/{task_id}/required_actions")
        page.get_by_role("button", name="Approve").wait_for()
        asked = page.inner_text("body")
        picture(page, f"{task_id}", self.prints)
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("button", name="Approve")).to_be_disabled()
        airflow.api.wait_for_task(dag_id, run_id, task_id, ["success"], PARSE_SECONDS)
        page.context.close()
        return asked

    def log(self, run: Run, task_id: str) -> str:
        return self.installation.airflow.api.log(run.dag_id, run.run_id, task_id)

    # The page

    def guide(self, name: str, *, until: str) -> str:
        """What a person reads on the page's guide, once it says `until`: Airflow reads the file now and then."""
        found = wait_until(f"the page that says {until!r}", lambda: self._guide(until), PARSE_SECONDS)
        if self.browser is not None:
            for theme in ("light", "dark"):
                page = open_page(self.browser, self.installation.airflow.url, self._token(), theme=theme)
                page.goto(f"{self.installation.airflow.url}/kfr/guide")
                overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert overflow <= 0, f"{name} is {overflow} px too wide"
                picture(page, f"{name}-{theme}", self.prints)
                page.context.close()
        return self.keep(f"{name}.txt", found)

    def _guide(self, until: str) -> str | None:
        url = f"{self.installation.airflow.url}/kfr/guide"
        answer = httpx.get(
            url, headers={"Authorization": f"Bearer {self._token()}"}, trust_env=False, timeout=60
        )
        text = text_of(answer.raise_for_status().text)
        return text if until in text else None

    def _token(self) -> str:
        airflow = self.installation.airflow
        return token_of(airflow.url, USER, airflow.password)

    # Mails

    def mails(self, subject: str) -> list[EmailMessage]:
        """The mails whose subject begins so, as they were delivered."""
        url = f"{self.installation.stand.url}/simulator/mails"
        found = []
        for number in range(len(self.installation.mails())):
            raw = httpx.get(f"{url}/{number}", trust_env=False, timeout=30).raise_for_status().content
            mail = email.message_from_bytes(raw, policy=email.policy.default)
            if " ".join(str(mail["Subject"]).split()).startswith(subject):
                found.append(mail)
        return found

    def one_mail(self, name: str, subject: str) -> str:
        """The one mail whose subject begins so, attachments and all, as a text to print."""
        (mail,) = self.mails(subject)
        return self.keep(f"{name}.txt", as_text(mail))

    def keep_attachments(self, subject: str) -> dict[str, bytes]:
        """The attachments of the last mail whose subject begins so, by file name; kept to be printed, too."""
        found = attachments(self.mails(subject)[-1])
        for name, content in found.items():
            (self.prints / name).write_bytes(content)
        return found


def attachments(mail: EmailMessage) -> dict[str, bytes]:
    return {str(part.get_filename()): part.get_payload(decode=True) for part in mail.iter_attachments()}


def as_text(mail: EmailMessage) -> str:
    """A mail with its attachments as they are read."""
    body = mail.get_body(("plain",))
    lines = [f"{name}: {' '.join(str(mail[name]).split())}" for name in ("From", "To", "Subject")]
    lines += ["", "" if body is None else body.get_content().strip(), ""]
    for name, content in attachments(mail).items():
        lines += [f"--- {name}", readable(name, content), ""]
    return "\n".join(lines)


def readable(name: str, content: bytes) -> str:
    """The text of an attachment."""
    if name.endswith(".docx"):
        document = Document(io.BytesIO(content))
        cells = [[cell.text.replace("\n", " / ") for cell in row.cells] for row in document.tables[0].rows]
        heads = [paragraph.text for paragraph in document.paragraphs]
        return "\n".join([*heads, *(f"{label}: {value}" for label, value in cells)])
    if name.endswith(".xlsx"):
        sheet = load_workbook(io.BytesIO(content)).active
        return "\n".join(
            " | ".join(str(cell) if cell is not None else "" for cell in row)
            for row in sheet.iter_rows(values_only=True)
        )
    return text_of(content.decode())


def text_of(page: str) -> str:
    """What a person reads on a page, a block a line."""
    body = re.sub(r"(?s)<(style|script|title)\b.*?</\1>", "", page)
    body = re.sub(r"</t[dh]>", " | ", body)
    lines = re.sub(r"</(?:p|li|tr|h\d|section|header)>", "\n", body)
    said = (" ".join(line.split()) for line in html.unescape(re.sub(r"<[^>]+>", " ", lines)).splitlines())
    return re.sub(r"\n{2,}", "\n", "\n".join(said)).strip()


def furniture(installation: Installation) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The connections and Variables that an institution makes by hand."""
    warehouse = environment.postgres_warehouse(installation.warehouse)
    connections = environment.connections(installation.stand, warehouse, {"sample_size": 300})
    return connections, environment.variables(installation.airflow.home.parent / "staging")
