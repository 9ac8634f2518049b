"""What a team writes without this package: `get_df_by_chunks`, stdnum row by row, pandas, one file after another.

It does less: no count, no reasons, no sealed state. It is written as such code is, not to be slow.
"""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from bench.ours import airflow_task
from kfr.relationships.batch_file import MAX_BODY_BYTES

CHUNK_ROWS = 50_000
SQL = "SELECT customer_id, started_on, ended_on FROM agreements"


def load(conn_id: str, folder: str) -> Generator[dict[str, Any]]:
    airflow_task()
    yield {}
    import pandas as pd
    from airflow.sdk import BaseHook

    hook = BaseHook.get_connection(conn_id).get_hook()
    parts = []
    rows = 0
    for chunk in hook.get_df_by_chunks(SQL, chunksize=CHUNK_ROWS, df_type="pandas"):
        rows += len(chunk)
        chunk["customer_id"] = chunk["customer_id"].str.strip()
        parts.append(chunk[chunk["customer_id"].map(_is_right, na_action=None)])
    active = _fold(pd.concat(parts))
    files = _write(active, Path(folder))
    yield {"rows": rows, "active": len(active), "files": files}


def _is_right(text: Any) -> bool:
    """Synthetic numbers are none to stdnum: a team that tests takes those whose check digits are right."""
    from stdnum.exceptions import InvalidComponent, ValidationError
    from stdnum.no import fodselsnummer, orgnr

    if not isinstance(text, str):
        return False
    if len(text) == 9:
        return bool(orgnr.is_valid(text))
    try:
        fodselsnummer.validate(text)
    except InvalidComponent:
        return True
    except ValidationError:
        return False
    return True


def _fold(agreements: Any) -> Any:
    """The start of the chain that is active today, a row a customer."""
    import pandas as pd

    today = pd.Timestamp.now(tz="Europe/Oslo").tz_localize(None).normalize()
    for column in ("started_on", "ended_on"):
        agreements[column] = pd.to_datetime(agreements[column], errors="coerce")
    agreements = agreements[agreements["started_on"].isna() | (agreements["started_on"] <= today)]
    agreements["ended_on"] = agreements["ended_on"].fillna(pd.Timestamp("2200-01-01"))
    agreements = agreements.sort_values(["customer_id", "started_on"], na_position="first")
    customer = agreements["customer_id"]
    furthest = agreements.groupby(customer)["ended_on"].cummax()
    gap = agreements["started_on"] > furthest.groupby(customer).shift() + pd.Timedelta(days=1)
    chain = gap.groupby(customer).cumsum()
    chains = agreements.groupby([customer, chain]).agg(start=("started_on", "min"), end=("ended_on", "max"))
    return chains[chains["end"] > today].reset_index()


def _write(active: Any, folder: Path) -> int:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    folder.mkdir(parents=True)
    starts = active["start"].dt.strftime("#%Y-%m-%d").fillna("")
    entries = (active["customer_id"] + starts).tolist()
    a_file = (MAX_BODY_BYTES - 1000) // 23
    cipher = AESGCM(bytes(range(32)))
    for number, first in enumerate(range(0, len(entries), a_file)):
        text = ",".join(entries[first : first + a_file]).encode()
        nonce = os.urandom(12)
        (folder / f"{number}").write_bytes(nonce + cipher.encrypt(nonce, text, None))
    return -(-len(entries) // a_file)
