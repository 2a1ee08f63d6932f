"""A mirror as an Airflow DAG: one task, which runs a job file where the worker runs.

Copy it to the folder of DAGs; the worker needs `dicomhaul` and sees the destination. Credentials of the source come
from the worker's environment. A run that is retried goes on where it stopped.
"""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

JOB = "/etc/dicomhaul/jobs/nlst.toml"

with DAG(
    dag_id="dicomhaul_nlst",
    description="Mirror of DICOM instances: nlst",
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 - Airflow reads it in its own time zone
    catchup=False,  # a mirror is made equal to what is, not to what was on some day
    max_active_runs=1,
    tags=["dicom"],
):
    BashOperator(
        task_id="run",
        # 4: paused by a quota or a limit; that is no failure, the next run goes on. `exec` lets SIGTERM arrive.
        bash_command=f"exec dicomhaul run {JOB} --log-format text",
        skip_on_exit_code=4,
        append_env=True,
        retries=3,
        retry_delay=timedelta(minutes=20),
        execution_timeout=timedelta(hours=20),
    )
