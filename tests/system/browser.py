"""Chromium, headless, logged in to a running Airflow as one of its users."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
PATIENCE_MS = 60_000  # tests share few cores
expect.set_options(timeout=PATIENCE_MS)
WIDE, NARROW = {"width": 1360, "height": 900}, {"width": 420, "height": 900}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that calls nobody but the pages that it is given."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


def token_of(url: str, user: str, password: str) -> str:
    answer = httpx.post(
        f"{url}/auth/token", json={"username": user, "password": password}, trust_env=False, timeout=60
    )
    return str(answer.raise_for_status().json()["access_token"])


def open_page(browser: Browser, url: str, token: str, *, theme: str = "light", narrow: bool = False) -> Page:
    """A tab of a user who is logged in and has chosen a theme in Airflow."""
    context = browser.new_context(viewport=NARROW if narrow else WIDE, color_scheme="light", locale="en-GB")
    context.add_cookies([{"name": "_token", "value": token, "url": url}])
    context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    context.set_default_timeout(PATIENCE_MS)
    return context.new_page()


def picture(page: Page, name: str, folder: Path) -> Path:
    """A screenshot of the whole page; kept in the folder KFR_SCREENSHOTS if that is set."""
    kept = Path(os.environ.get("KFR_SCREENSHOTS") or folder)
    kept.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=kept / f"{name}.png", full_page=True, animations="disabled")
    return kept / f"{name}.png"
