"""The params and tags that the Dags share, so that the trigger form reads the same everywhere."""

from enum import StrEnum

from airflow.sdk import Param


class Tag(StrEnum):
    """Every tag that a Dag of this package may carry."""

    KFR = "kfr"
    PII = "pii"
    IMPACT_HIGH = "impact:high"
    IMPACT_LOW = "impact:low"


FIRST_LOAD_PARAMS = {
    "as_of": Param(
        None,
        type=["null", "string"],
        format="date",
        title="As of",
        description="The day whose relationships are loaded; empty: today in Oslo. A past day removes nobody.",
    ),
    "dry_run": Param(
        False, type="boolean", title="Dry run", description="Plan and forecast; send nothing, change nothing."
    ),
    "approval": Param(
        "auto",
        enum=["auto", "always", "never"],
        title="Approval",
        description="Whether a person approves the plan: when a guard asks for it, always, or never.",
    ),
    "reason": Param(
        "",
        type="string",
        maxLength=500,
        pattern=r"^(?![\s\S]*\d{9})[\s\S]*$",
        title="Reason",
        description="Why this run; kept in the report. No identity numbers: nine or more digits are refused.",
    ),
    "kfr_conn_id": Param("kfr_default", type="string", title="Connection to the register"),
    "warehouse_conn_id": Param("kfr_warehouse", type="string", title="Connection to the warehouse"),
}

PERIODIC_PARAMS = {
    **FIRST_LOAD_PARAMS,
    "scope": Param(
        None,
        type=["null", "string"],
        enum=[None, "everyone", "interval"],
        title="Scope",
        description="Whom the run is about: everyone, or who changed in an interval. Empty: everyone; in a backfill "
        "the interval of each run.",
    ),
    "compare_with": Param(
        None,
        type=["null", "string"],
        enum=[None, "mirror", "register"],
        title="Compare with",
        description="The mirror, or the register itself by looking each customer up. Empty: the mirror; in a "
        "backfill the register, so that it repairs what a fault broke.",
    ),
}

RECONCILE_PARAMS = {
    **FIRST_LOAD_PARAMS,
    "full": Param(
        False,
        type="boolean",
        title="Look everyone up",
        description="Even if the sample shows nothing. A million customers at 20 look-ups a second take 14 hours.",
    ),
}
