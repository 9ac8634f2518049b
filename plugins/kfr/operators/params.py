"""The params and tags that the Dags share, so that the trigger form reads the same everywhere."""

from collections.abc import Mapping
from copy import copy
from enum import StrEnum

from airflow.sdk import Param
from airflow.sdk.configuration import conf

from kfr.onboarding.institution import Institution
from kfr.register.errors import ConfigurationError


class Tag(StrEnum):
    """Every tag that a Dag of this package may carry."""

    KFR = "kfr"
    PII = "pii"
    IMPACT_HIGH = "impact:high"
    IMPACT_LOW = "impact:low"


# Headings of the trigger form. Params without one stand first, and only they are unfolded: what is most often chosen.
WHOM, APPROVAL, WHERE = "Who is compared, and with what", "Approval and report", "Connections"

# An identity number as it is usually written: in a row, as a date and five digits, or 3+3+3. Digits around the last
# two are another number, say a date with the time behind it. The hyphen is escaped so that a browser reads the
# pattern as Python does.
_DATE_AND_FIVE = r"(?:\d{6}|\d{2}[\s.\-]\d{2}[\s.\-]\d{2})[\s.\-]\d{3}[\s.\-]?\d{2}"
IDENTIFIER = rf"\d{{9}}|(?<!\d)(?:{_DATE_AND_FIVE}|\d{{3}}[\s.\-]\d{{3}}[\s.\-]\d{{3}})(?!\d)"
NO_IDENTIFIER = rf"^(?![\s\S]*(?:{IDENTIFIER}))[\s\S]*$"

# A text that may stay empty has to allow null: else the form asks for it, and its button stays grey.
LOAD_PARAMS = {
    "as_of": Param(
        None,
        type=["null", "string"],
        format="date",
        title="As of",
        description="The day whose relationships are loaded; empty: today in Oslo. A past day removes nobody.",
    ),
    "dry_run": Param(
        False,
        type="boolean",
        title="Dry run",
        description="Plan and forecast; send nothing, change nothing.",
    ),
    "approval": Param(
        "auto",
        enum=["auto", "always", "never"],
        title="Approval",
        description="Whether a person approves the plan: when a guard asks for it, always, or never. With never the "
        "report names who started the run.",
        section=APPROVAL,
    ),
    "reason": Param(
        None,
        type=["null", "string"],
        maxLength=500,
        pattern=NO_IDENTIFIER,
        title="Reason",
        description="Why this run; kept in the report. No identity numbers: nine or more digits are refused, in a "
        "row, as 6+5 or as 3+3+3.",
        section=APPROVAL,
    ),
    "kfr_conn_id": Param(
        "kfr_default",
        type="string",
        title="Connection to the register",
        description="Of the type kfr; its Test button says what is right.",
        section=WHERE,
    ),
    "warehouse_conn_id": Param(
        "kfr_warehouse",
        type="string",
        title="Connection to the warehouse",
        description="Any SQL connection.",
        section=WHERE,
    ),
}

FIRST_LOAD_PARAMS = {
    **LOAD_PARAMS,
    "start_despite": Param(
        None,
        type=["null", "string"],
        maxLength=500,
        pattern=NO_IDENTIFIER,
        title="Start although tasks of the guide are open",
        description="In production only, and only by a person: why the load may start although something that must "
        "be done before it is not. Kept in the report.",
        section=APPROVAL,
    ),
}

PERIODIC_PARAMS = {
    **LOAD_PARAMS,
    "scope": Param(
        None,
        type=["null", "string"],
        enum=[None, "everyone", "interval"],
        title="Scope",
        description="Whom the run is about: everyone, or who changed in an interval. Empty: everyone; in a backfill "
        "the interval of each run. The setting periodic_scope fills this in.",
        section=WHOM,
    ),
    "compare_with": Param(
        None,
        type=["null", "string"],
        enum=[None, "mirror", "register"],
        title="Compare with",
        description="The mirror, or the register itself by looking each customer up. Empty: the mirror; in a "
        "backfill the register, so that it repairs what a fault broke.",
        section=WHOM,
    ),
}

RECONCILE_PARAMS = {
    **LOAD_PARAMS,
    "full": Param(
        False,
        type="boolean",
        title="Look everyone up",
        description="Even if the sample shows nothing. A million customers at 20 look-ups a second take 14 hours.",
        section=WHOM,
    ),
}


def params_of(institution: Institution, params: Mapping[str, Param]) -> dict[str, Param]:
    """The params of a Dag of one institution: its own connections and the installation's scope are the defaults.

    Copies: a Param keeps the value that a run gave it, and would hand it to another Dag of the same process.
    """
    own = {"kfr_conn_id": institution.kfr_conn_id, "warehouse_conn_id": institution.warehouse_conn_id}
    if "scope" in params and (scope := _periodic_scope()):
        own["scope"] = scope
    return {
        name: Param(own[name], **param.schema) if name in own else copy(param)
        for name, param in params.items()
    }


def _periodic_scope() -> str | None:
    """`periodic_scope`; None for everyone, so that a backfill is still about the interval of each run.

    :raises ConfigurationError: it is neither of the two. Airflow then shows the Dag as broken, with the error's text.
    """
    scope = conf.get("kfr", "periodic_scope", fallback="everyone")
    if scope not in ("everyone", "interval"):
        raise ConfigurationError(f"[kfr] periodic_scope is {scope!r}: set it to everyone or interval.")
    return None if scope == "everyone" else scope
