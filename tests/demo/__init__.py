"""`make demo`: a first load in a real Airflow, against a simulated register, while the warehouse changes."""
