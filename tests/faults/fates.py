"""Promise 1: each row read has one fate, and each planned addition goes out once."""

import json

from kfr.load.report import names, read
from tests.faults.institution import Institution
from tests.faults.play import Play
from tests.faults.traffic import rows_of

FATES = {"added", "start_changed", "unchanged", "folded", "not_active", "rejected"}


def broken(institution: Institution, play: Play) -> list[str]:
    if play.run.key not in names(institution.state):
        return []
    report = json.loads(read(institution.state, play.run.key).content)
    if "plan" not in report:
        return []
    return [*_fates(institution, play, report), *_once(institution, play, report)]


def _fates(institution: Institution, play: Play, report: dict) -> list[str]:
    fates = report["plan"]["fates"]
    if set(fates) != FATES:
        return [f"1: the fates are {sorted(fates)}"]
    if sum(fates.values()) != report["rows"]["rows"]:
        return ["1: the fates of the rows do not add up"]
    if play.run.scope == "everyone" and report["rows"]["rows"] not in institution.warehouse.rows_given:
        return ["1: the report counts other rows than the warehouse gave"]
    return []


def _once(institution: Institution, play: Play, report: dict) -> list[str]:
    """Nobody goes out in two files of a run, or in one and by a call of their own, but for repairs and re-sends.

    Of calls those count that were answered as they were meant, to a worker who lived to note it: else whoever was called
    for may rightly go by file.
    """
    if play.planned_again or any(file["label"].startswith("repair") for file in report.get("files", [])):
        return []
    mine = [c for c in institution.calls if c.run == play.run.key and c.status == 201]
    bodies = {c.body for c in mine if c.operation == "register_file"}
    customers = [customer for body in bodies for customer in rows_of(body) or ()]
    if not institution.fuse.struck:
        customers += {int(c.customer_id) for c in mine if c.operation == "register_one" and c.fine}
    if play.green and len(set(customers)) < len(customers):
        return ["1: a customer went out twice in one run"]
    return []
