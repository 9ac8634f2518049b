"""The params and tags that the Dags share, so that the trigger form reads the same everywhere."""

from enum import StrEnum

from airflow.sdk import Param


class Tag(StrEnum):
    """Every tag that a Dag of this package may carry."""

    KFR = "kfr"
    PII = "pii"
    IMPACT_HIGH = "impact:high"
    IMPACT_LOW = "impact:low"


LOAD_PARAMS = {
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
        pattern=r"^(?!.*\d{9})[\s\S]*$",
        title="Reason",
        description="Why this run; kept in the report. No identity numbers: nine or more digits are refused.",
    ),
    "kfr_conn_id": Param("kfr_default", type="string", title="Connection to the register"),
    "warehouse_conn_id": Param("kfr_warehouse", type="string", title="Connection to the warehouse"),
}
