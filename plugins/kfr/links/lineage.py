"""The register as OpenLineage names it: what the asset of a load becomes in its events."""

from typing import Any
from urllib.parse import urlsplit


def register_dataset(asset: Any, lineage_context: Any) -> Any:
    """The dataset of an asset `kfr://register/<name>`; None where OpenLineage's client is not installed."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    del lineage_context
    parts = urlsplit(asset.uri)
    return Dataset(namespace=f"{parts.scheme}://{parts.netloc}", name=parts.path.lstrip("/"))
