# One image for every service of docker-compose.yaml: Airflow, the simulator and the warehouse's generator. It
# holds exactly what requirements.lock names, hence what the tests ran on; the official Airflow image has other
# versions.
FROM python:3.11-slim

ENV AIRFLOW_HOME=/airflow \
    PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1

RUN useradd --create-home --uid 1000 kfr \
    && mkdir /airflow /stand \
    && chown kfr /airflow /stand \
    && python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir uv==0.13.9

WORKDIR /opt/kfr
COPY requirements.lock ./
RUN uv pip sync --python /opt/venv/bin/python --no-cache --require-hashes requirements.lock

COPY . .
RUN uv pip install --python /opt/venv/bin/python --no-cache --no-deps --editable .

USER kfr
