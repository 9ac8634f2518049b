"""Endpoints under `/simulator/` for those who look on: the demo, the system tests, a stand-alone comparison."""

import dataclasses
import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.simulator.clock import OSLO
from tests.simulator.faults import Fault
from tests.simulator.identifiers import text_of
from tests.simulator.mailbox import Mail
from tests.simulator.register import Snapshot
from tests.simulator.simulator import Simulator
from tests.simulator.switches import Switches

ROWS_A_CHUNK = 20_000
MAILBOX = Markup(
    """<!doctype html><meta charset="utf-8"><title>Mails</title>
<style>body {{ max-width: 60rem; margin: 2rem auto; font: 15px/1.5 sans-serif }} pre {{ white-space: pre-wrap }}
article {{ border-top: 1px solid #999 }} h2 {{ font-size: 1.1rem; margin-bottom: 0 }} p {{ margin: 0; color: #666 }}</style>
<h1>{n} mails</h1><p>Nothing leaves this machine. The newest first, as of {at:%H:%M:%S} Norwegian time, as all below.</p>
{mails}"""
)


def admin_routes(simulator: Simulator) -> list[Route]:
    """The routes of the admin endpoints."""
    admin = Admin(simulator)
    return [
        Route("/simulator/", admin.show_status, methods=["GET"]),
        Route("/simulator/state", admin.show_state, methods=["GET"]),
        Route("/simulator/log", admin.show_log, methods=["GET"]),
        Route("/simulator/mails", admin.show_mails, methods=["GET"]),
        Route("/simulator/mailbox", admin.show_mailbox, methods=["GET"]),
        Route("/simulator/mails/{number:int}", admin.show_mail, methods=["GET"]),
        Route("/simulator/switches", admin.show_switches, methods=["GET"]),
        Route("/simulator/switches", admin.set_switches, methods=["PUT"]),
        Route("/simulator/faults", admin.show_faults, methods=["GET"]),
        Route("/simulator/faults", admin.add_fault, methods=["POST"]),
        Route("/simulator/faults", admin.clear_faults, methods=["DELETE"]),
        Route("/simulator/defects", admin.plant_defect, methods=["POST"]),
    ]


class Admin:
    """The endpoints; a value that is not right is answered with 400 and the reason."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def show_status(self, _: Request) -> Response:
        simulator = self._simulator
        return JSONResponse(
            {
                "now": simulator.clock.now().isoformat(),
                "fid": simulator.fid,
                "base_url": simulator.base_url,
                "issuer": simulator.issuer,
                "rows_per_second": simulator.rows_per_second,
                "pending_rows": simulator.pending_rows,
                "events": len(simulator.log),
                "mails": len(simulator.mails),
            }
        )

    async def show_state(self, _: Request) -> Response:
        """CSV `customer_id,started_on,ended_on`; without an end the relationship is active."""
        return StreamingResponse(_as_csv(self._simulator.snapshot()), media_type="text/csv")

    async def show_log(self, request: Request) -> Response:
        """JSON lines, from the event with the number `since` on."""
        try:
            since = int(request.query_params.get("since", "0"))
        except ValueError as error:
            return _bad_request(error)
        events = list(enumerate(self._simulator.log))[since:]
        lines = "".join(f"{json.dumps(event.as_json(number))}\n" for number, event in events)
        return Response(lines, media_type="application/x-ndjson")

    async def show_mails(self, _: Request) -> Response:
        return JSONResponse([mail.as_json() for mail in self._simulator.mails])

    async def show_mailbox(self, _: Request) -> Response:
        """The same for a person, the newest first; addresses in a text can be clicked."""
        clock = self._simulator.clock.now().astimezone(OSLO)
        mails = Markup("").join(map(_as_html, reversed(self._simulator.mails)))
        return HTMLResponse(MAILBOX.format(n=len(self._simulator.mails), at=clock, mails=mails))

    async def show_mail(self, request: Request) -> Response:
        """One mail as it was delivered, attachments and all; the first has the number 0."""
        mails, number = self._simulator.mails, request.path_params["number"]
        if number >= len(mails):
            return _bad_request(ValueError(f"there are {len(mails)} mails"))
        return Response(mails[number].raw, media_type="message/rfc822")

    async def show_switches(self, _: Request) -> Response:
        return JSONResponse(dataclasses.asdict(self._simulator.switches))

    async def set_switches(self, request: Request) -> Response:
        """Set the switches that are named, leave the others."""
        try:
            now = dataclasses.asdict(self._simulator.switches)
            self._simulator.switches = Switches(**(now | await _fields(request)))
        except (TypeError, ValueError) as error:
            return _bad_request(error)
        return await self.show_switches(request)

    async def show_faults(self, _: Request) -> Response:
        """The faults that can still strike; `left` of its `times`."""
        found = self._simulator.faults.left
        return JSONResponse([dataclasses.asdict(fault) | {"left": left} for fault, left in found])

    async def add_fault(self, request: Request) -> Response:
        """Plan one fault; the fields are those of `Fault`."""
        try:
            self._simulator.faults.add(Fault(**await _fields(request)))
        except (TypeError, ValueError) as error:
            return _bad_request(error)
        return await self.show_faults(request)

    async def clear_faults(self, request: Request) -> Response:
        self._simulator.faults.clear()
        return await self.show_faults(request)

    async def plant_defect(self, request: Request) -> Response:
        """Make the register wrong: `{"kind": "missing" | "other_start" | "leftover"}`."""
        try:
            fields = await _fields(request)
            customer_id = self._simulator.plant_defect(fields["kind"])
        except (KeyError, ValueError) as error:
            return _bad_request(error)
        return JSONResponse({"kind": fields["kind"], "customer_id": text_of(customer_id)})


def _as_html(mail: Mail) -> Markup:
    text = Markup("").join(
        Markup('<a href="{0}">{0}</a>').format(part)
        if part.startswith(("http://", "https://"))
        else escape(part)
        for part in re.split(r"(https?://\S+)", mail.text)
    )
    at = f"{mail.at.astimezone(OSLO):%Y-%m-%d %H:%M:%S}"
    return Markup("<article><h2>{subject}</h2><p>{at}, to {to}</p><pre>{text}</pre></article>").format(
        subject=" ".join(mail.subject.split()), at=at, to=", ".join(mail.recipients), text=text
    )


async def _fields(request: Request) -> dict[str, Any]:
    fields = json.loads(await request.body())
    if not isinstance(fields, dict):
        raise ValueError("the body is a JSON object")  # noqa: TRY004 - as for any other bad value
    return fields


def _bad_request(error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400)


def _as_csv(snapshot: Snapshot) -> Iterator[str]:
    ids, starts, ends = snapshot
    yield "customer_id,started_on,ended_on\n"
    texts = {0: ""}
    for day in {*starts.tolist(), *ends.tolist()} - {0}:
        texts[day] = date.fromordinal(day).isoformat()
    for first in range(0, len(ids), ROWS_A_CHUNK):
        columns = (column[first : first + ROWS_A_CHUNK].tolist() for column in (ids, starts, ends))
        yield "".join(
            f"{text_of(one)},{texts[start]},{texts[end]}\n" for one, start, end in zip(*columns, strict=True)
        )
