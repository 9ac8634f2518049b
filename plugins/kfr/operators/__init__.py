"""The steps of a load as Airflow operators."""
