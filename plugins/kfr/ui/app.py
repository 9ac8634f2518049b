"""The page's routes, each behind Airflow's own login and rights on the runs of a Dag; mounted under `/kfr`.

A route of a plugin without a dependency is open to anyone, so every one of them names its own. Loaded by the
api-server only, at the first request: see `kfr.plugin`.
"""

from typing import Annotated, Any
from urllib.parse import urlencode

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dag import DagModel
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from sqlalchemy import select

from kfr.clock import SystemClock, oslo_today
from kfr.links.page import base_url
from kfr.load.report import Kept
from kfr.ui import manual
from kfr.ui.figures import institution_of, kept_report, one_run, overview
from kfr.ui.guide_view import READINESS, guide_values, proof_report, read_progress
from kfr.ui.page_view import page_values
from kfr.ui.report_page import render
from kfr.ui.run_view import RunView, report_address
from kfr.ui.templating import page, source

WORDS = {
    "success": "done",
    "awaiting_input": "waits for a person",
    "up_for_retry": "tries again",
    "up_for_reschedule": "looks again",
    "deferred": "waits",
    "upstream_failed": "not reached",
}
SECURE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
MAY_SEE_RUNS = Depends(requires_access_dag("GET", DagAccessEntity.RUN))
MAY_SEE_XCOM = Depends(requires_access_dag("GET", DagAccessEntity.XCOM))

app = FastAPI(title="KFR", docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/", dependencies=[MAY_SEE_RUNS, MAY_SEE_XCOM])
def show_register(session: SessionDep, user: GetUserDep, institution: str = "") -> Response:
    """The register, the load to look at and the history; only of Dags that the reader may see."""
    mine = _permitted(session, user)
    chosen, others = _choose(mine, institution)
    values = page_values(overview(session, mine, chosen), SystemClock().now())
    query = f"?institution={chosen}" if chosen else ""
    return _html(
        page("page.html", words=WORDS, script=source("live.js"), others=others, query=query, **values)
    )


@app.get("/guide", dependencies=[MAY_SEE_RUNS, MAY_SEE_XCOM])
def show_guide(session: SessionDep, user: GetUserDep, institution: str = "") -> Response:
    """The guide's four phases, and what can be shown for the self-declaration."""
    mine = _permitted(session, user)
    chosen, others = _choose(mine, institution)
    readiness = f"{READINESS}__{chosen}" if chosen else READINESS
    found = overview(session, mine, chosen)
    values = guide_values(
        read_progress(session, chosen) if readiness in mine else None, found, oslo_today(SystemClock())
    )
    values |= {
        "file": f"institutions/{chosen}.yaml" if chosen else "institution.yaml",
        "where": (found.latest or {}).get("environment"),
        "proof_report": proof_report(found),
        "query": f"?institution={chosen}" if chosen else "",
    }
    return _html(
        page("guide.html", words=WORDS, script=source("live.js"), others=others, refresh=60, **values)
    )


def _permitted(session: SessionDep, user: GetUserDep) -> list[str]:
    """Our Dags, of those that the reader may see."""
    known = session.scalars(select(DagModel.dag_id).where(DagModel.dag_id.like("kfr\\_%", escape="\\"))).all()
    permitted = get_auth_manager().get_authorized_dag_ids(user=user, method="GET", session=session)
    return [dag_id for dag_id in known if dag_id in permitted]


def _choose(mine: list[str], institution: str) -> tuple[str, list[tuple[str, str]]]:
    """The institution to show, and the addresses of all."""
    names = sorted({name for dag_id in mine if (name := institution_of(dag_id)) is not None})
    chosen = institution if institution in names or not names else names[0]
    return chosen, [(name or "first institution", f"?institution={name}") for name in names]


@app.get("/run", dependencies=[MAY_SEE_RUNS, MAY_SEE_XCOM])
def show_run(session: SessionDep, dag_id: str, run_id: str) -> Response:
    """One run, beside Airflow's own view of it."""
    run = one_run(session, dag_id, run_id) if institution_of(dag_id) is not None else None
    values: dict[str, Any] = {"run": None, "refresh": 60}
    if run is not None:
        found = run.status.get("extract", {}).get("rejected", {})
        values = {
            "run": RunView(run, SystemClock().now()),
            "refresh": 10 if run.is_active else 60,
            "rejected": sorted(found.items(), key=lambda item: -item[1]),
            "findings": run.status.get("plan", {}).get("findings", []),
            "report": report_address(run) if run.report else None,
        }
        values["run"].title = "This load"
    return _html(page("run.html", words=WORDS, script=source("live.js"), **values))


def _kept(session: SessionDep, dag_id: str, run_id: str) -> Kept:
    found = kept_report(session, dag_id, run_id) if institution_of(dag_id) is not None else None
    if found is None:
        raise HTTPException(404, "This run has no report: it did not hold the register, or it is not over.")
    return Kept.from_text(found)


KeptReport = Annotated[Kept, Depends(_kept)]


@app.get("/report", dependencies=[MAY_SEE_RUNS, MAY_SEE_XCOM])
def show_report(kept: KeptReport, dag_id: str, run_id: str) -> Response:
    """The report of a run as a page."""
    import json

    query = urlencode({"dag_id": dag_id, "run_id": run_id})
    links = [(name, f"{name}?{query}") for name in ("report.json", "report.sig", "report.pem")]
    return _html(
        render(json.loads(kept.content), script=source("live.js"), links=[("back to KFR", "./"), *links])
    )


@app.get("/report.json", dependencies=[MAY_SEE_RUNS, MAY_SEE_XCOM])
def report_json(kept: KeptReport) -> Response:
    """The signed bytes."""
    return _file(kept.content, "report.json", "application/json")


@app.get("/report.sig", dependencies=[MAY_SEE_RUNS, MAY_SEE_XCOM])
def report_signature(kept: KeptReport) -> Response:
    return _file(kept.signed.signature, "report.sig", "application/octet-stream")


@app.get("/report.pem", dependencies=[MAY_SEE_RUNS, MAY_SEE_XCOM])
def report_certificate(kept: KeptReport) -> Response:
    return _file(kept.signed.certificate, "report.pem", "application/x-pem-file")


@app.get("/docs/{name}", dependencies=[MAY_SEE_RUNS])
def show_doc(name: str) -> Response:
    """The runbook, or another of the project's docs."""
    if name not in manual.names():
        raise HTTPException(404, f"There is no page {name}.")
    title, sections, content = manual.read(name)
    values = {"title": title, "sections": sections, "content": content, "others": manual.names()}
    return _html(page("doc.html", script=source("live.js"), refresh="", **values))


@app.exception_handler(401)
async def ask_to_log_in(request: Request, _: Exception) -> Response:
    """Whoever opens a link of an alert is brought to Airflow's login, and back; anything else gets its 401."""
    if request.headers.get("sec-fetch-dest") != "document":
        return JSONResponse({"detail": "Not authenticated"}, 401)
    query = urlencode({"next": str(request.url)})
    return RedirectResponse(f"{base_url()}/api/v2/auth/login?{query}")


def _html(text: str) -> Response:
    return HTMLResponse(text, headers=SECURE)


def _file(content: bytes, name: str, kind: str) -> Response:
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=kind, headers=SECURE | disposition)
