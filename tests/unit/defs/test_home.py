"""What is done before the daemon starts."""

import dagster as dg

from retention_pipelines.definitions import build_definitions
from retention_pipelines.defs.home import end_orphans
from retention_pipelines.defs.sensors import LAUNCHED_BY
from retention_pipelines.settings import Settings


def test_runs_of_an_earlier_daemon_are_failed_and_all_others_left_alone(settings: Settings) -> None:
    job = build_definitions(settings).resolve_job_def("ingest")
    status = dg.DagsterRunStatus
    with dg.DagsterInstance.ephemeral() as instance:
        runs = {
            kind: instance.create_run_for_job(job, status=kind)
            for kind in (status.STARTED, status.STARTING, status.NOT_STARTED, status.SUCCESS)
        }
        own = instance.create_run_for_job(job, status=status.STARTED, tags={LAUNCHED_BY: "command line"})
        ended = end_orphans(instance)
        assert set(ended) == {runs[status.STARTED].run_id, runs[status.STARTING].run_id}
        assert {instance.get_run_by_id(run_id).status for run_id in ended} == {status.FAILURE}
        for kind in (status.NOT_STARTED, status.SUCCESS):
            assert instance.get_run_by_id(runs[kind].run_id).status == kind
        assert instance.get_run_by_id(own.run_id).status == status.STARTED
