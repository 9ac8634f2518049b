"""What Airflow is told about this package. Read while Airflow starts, so nothing of Airflow is imported here."""

from typing import Any

from kfr import __version__

_TEXT = {"type": ["string", "null"]}

_NUMBER = {"type": ["number", "null"], "exclusiveMinimum": 0}


def get_provider_info() -> dict[str, Any]:
    """The provider's description, in the form that Airflow's provider schema asks for."""
    return {
        "package-name": "airflow-kfr",
        "name": "Kundeforholdsregisteret (KFR)",
        "description": "Load all customer relationships into the Norwegian register, and keep them right.",
        "versions": [__version__],
        "connection-types": [
            {
                "connection-type": "kfr",
                "hook-class-name": "kfr.hooks.kfr.KfrHook",
                "ui-field-behaviour": _behaviour(),
                "conn-fields": _fields(),
            }
        ],
        "extra-links": [
            "kfr.links.register.LeaseHolderLink",
            "kfr.links.page.PageLink",
            "kfr.links.page.ReportLink",
        ],
        "asset-uris": [
            {
                "schemes": ["kfr"],
                "handler": None,  # without this word the rest is passed over
                "to_openlineage_converter": "kfr.links.lineage.register_dataset",
            }
        ],
        "config": {"kfr": {"description": "How loads are run.", "options": _options()}},
    }


def _behaviour() -> dict[str, Any]:
    return {
        # The port is not hidden although nothing needs it: of a connection without one Airflow's page says 0 when
        # Test is pressed, and its API then refuses the test (seen in 3.3.2).
        "hidden-fields": ["schema"],
        "relabeling": {
            "host": "Base URL",
            "port": "Port, 443",
            "login": "Maskinporten client id",
            "password": "Password of the keystore",
        },
        "placeholders": {
            "host": "by environment; set it only for a stand-in of the register",
            "port": "443: Airflow's Test button needs a number here",
        },
    }


def _fields() -> dict[str, Any]:
    def of(label: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"label": label, "description": description, "schema": schema}

    return {
        "environment": of(
            "Environment",
            "test or production",
            {"type": "string", "enum": ["test", "production"], "default": "test"},
        ),
        "fid": of(
            "fid",
            "The institution's organisation number, 9 digits",
            {"type": "string", "pattern": "^[0-9]{9}$"},
        ),
        "keystore": of(
            "Keystore", "Path of the PKCS#12 file, or its base64", {"type": "string", "format": "password"}
        ),
        "staging_key": of(
            "Staging key",
            "Base64 of 32 random bytes; seals everything at rest",
            {"type": "string", "format": "password"},
        ),
        "maskinporten_issuer": of("Maskinporten issuer", "By environment if empty", _TEXT),
        "consumer_org": of("Consumer", "The institution's number, when a supplier asks on its behalf", _TEXT),
        "kid": of("Key id", "Only for a client with a registered key; else the certificate is sent", _TEXT),
        "rows_per_second": of("Rows a second", "What the register loads; 250 if empty", _NUMBER),
        "requests_per_second": of("Requests a second", "What we allow ourselves; 20 if empty", _NUMBER),
        "sample_size": of("Sample size", "Look-ups of the proof, of each stratum; 2995 if empty", _NUMBER),
    }


def _options() -> dict[str, Any]:
    def of(description: str, default: str, kind: str = "integer") -> dict[str, Any]:
        return {
            "description": description,
            "type": kind,
            "default": default,
            "example": None,
            "version_added": "0.1.0",
        }

    return {
        "retries": of("How often a task tries again when that can help.", "5"),
        "retry_seconds": of("Seconds before a task's first retry; doubled at each.", "60"),
        "lease_seconds": of("Seconds between two tries to take the register.", "60"),
        "heartbeat_seconds": of("Seconds after which tasks of a finished run are dead.", "300"),
        "arrivals_seconds": of("Seconds between two looks for customers who arrived during a load.", "300"),
        "loading_grace": of(
            "Seconds that a file's witnesses are awaited after it should have settled.", "3600"
        ),
        "periodic_schedule": of(
            "When kfr_periodic_load runs: cron, in Norwegian time.", "0 4 * * *", "string"
        ),
        "periodic_scope": of(
            "Whom kfr_periodic_load reads unless its run says otherwise: everyone, or interval (who changed).",
            "everyone",
            "string",
        ),
        "upstream_asset": of(
            "Name or uri of the asset after which kfr_periodic_load runs, instead of by cron.", "", "string"
        ),
        "late_minutes": of(
            "Minutes after which a scheduled kfr_periodic_load that is not over is late.", "120"
        ),
        "reconcile_schedule": of("When kfr_reconcile runs: cron, in Norwegian time.", "0 10 * * 6", "string"),
        "compare_pause_seconds": of("Seconds between two stretches of look-ups in kfr_reconcile.", "30"),
        "approval_hours": of("How long an approval is waited for; then the run fails.", "12", "float"),
        "shrink_percent": of("So much fewer customers than before, and a person is asked.", "20", "float"),
        "removals": of("More removals in a load, and a person is asked.", "500"),
        "removal_percent": of("The same as a share of all customers.", "2", "float"),
        "reject_percent": of("A larger share of refused rows, and a person is asked.", "1", "float"),
        "keep_staged_days": of("Days for which a failed run's staged files are kept.", "14"),
        "keep_rejects_days": of("Days for which refused rows are kept for the data steward.", "30"),
        "keep_mirrors": of(
            "Versions of the mirror that are kept; a load that changes something makes one.", "35"
        ),
        "keep_reports_years": of("Years for which reports and the log of what was sent are kept.", "5"),
        "max_batch_bytes": of("Largest batch request in bytes; the register takes 10,000,000.", "10000000"),
    }
