"""What a load is, one module a step. The world is handed in; Airflow is not known here."""
