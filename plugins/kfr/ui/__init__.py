"""The page in Airflow's UI, and a report as a page."""
