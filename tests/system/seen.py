"""A running installation as its people see it: in a browser, as one of its users, in a theme."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page

from tests.environment import MAIL_TO_ONCALL
from tests.system.browser import chromium, open_page, picture, token_of
from tests.system.installation import Installation, installation

ROUTES = (
    "/kfr/",
    "/kfr/guide",
    "/kfr/run",
    "/kfr/docs/{name}",
    "/kfr/report",
    "/kfr/report.json",
    "/kfr/report.sig",
    "/kfr/report.pem",
)
USERS = "admin:admin,reader:viewer,nobody:"  # the last one may see no run


@dataclass
class Seen:
    """A running installation, a browser, and how to look."""

    installation: Installation
    browser: Browser
    folder: Path

    @property
    def url(self) -> str:
        return self.installation.airflow.url

    def token(self, user: str = "reader") -> str:
        passwords = json.loads((self.installation.airflow.home / "passwords.json").read_text())
        return token_of(self.url, user, passwords[user])

    def get(self, path: str, user: str | None = "reader", **params: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token(user)}"} if user else {}
        return httpx.get(self.url + path, params=params, headers=headers, trust_env=False, timeout=60)

    def alerts(self) -> list[str]:
        """The subjects of the mails to who is on call."""
        mails = [m for m in self.installation.mails() if m["recipients"] == [MAIL_TO_ONCALL]]
        return [" ".join(m["subject"].split()) for m in mails]

    def page(self, path: str, user: str = "admin", *, theme: str = "light", narrow: bool = False) -> Page:
        """A tab at a path; close its `context` at the end."""
        page = open_page(self.browser, self.url, self.token(user), theme=theme, narrow=narrow)
        page.goto(self.url + path)
        return page

    def picture(self, page: Page, name: str) -> None:
        picture(page, name, self.folder)

    def shoot(self, name: str, path: str = "/kfr/", *, narrow: bool = False) -> str:
        """Take the picture of a page of ours, light and dark; return what a person reads on it."""
        for theme in ("light", "dark"):
            page = self.page(path, "reader", theme=theme, narrow=narrow)
            assert page.evaluate("document.documentElement.dataset.theme") == theme
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 380) == (theme == "light")
            overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, f"{name} is {overflow} px too wide"
            self.picture(page, f"{name}-{theme}")
            text = page.inner_text("main")
            page.context.close()
        return text


@contextmanager
def watched(folder: Path, **settings: Any) -> Iterator[Seen]:
    """An installation with a browser beside it; `settings` are those of `installation`."""
    users = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS}
    with installation(folder, airflow=users, **settings) as running, chromium() as browser:
        yield Seen(running, browser, folder / "pictures")
