"""Where to look when a run waits for the register."""

from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from kfr.links.page import base_url


class LeaseHolderLink(BaseOperatorLink):
    """To the run that holds the register, while another waits for it."""

    name = "Who holds the register"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Called in the worker after each look at the lease; empty when the register is ours."""
        del ti_key
        if operator.holder is None:
            return ""
        return (
            f"{base_url()}/dags/{quote(operator.holder.dag_id)}/runs/{quote(operator.holder.run_id, safe='')}"
        )
