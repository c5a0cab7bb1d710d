"""When an asset of retention may remove anything."""

import dagster as dg

from retention_pipelines.defs.cleanup import is_meant


def test_a_run_of_all_assets_is_no_order_to_remove_anything_whoever_starts_it() -> None:
    meant: list[bool] = []

    @dg.asset
    def trends() -> None:
        """A dataset of the catalog, by its name."""

    @dg.asset
    def removal(context: dg.AssetExecutionContext) -> None:
        meant.append(is_meant(context))

    made = dg.Definitions([trends, removal], jobs=[dg.define_asset_job("cleanup", selection=["removal"])])
    with dg.DagsterInstance.ephemeral() as instance:
        # Without a selection, as `dagster job execute` starts it, then with one, as the page does.
        for chosen in (None, ["trends", "removal"], ["removal"]):
            keys = None if chosen is None else [dg.AssetKey(name) for name in chosen]
            made.resolve_job_def("__ASSET_JOB").execute_in_process(instance=instance, asset_selection=keys)
        made.resolve_job_def("cleanup").execute_in_process(instance=instance)
        made.resolve_job_def("cleanup").execute_in_process(instance=instance, tags={"dagster/backfill": "x"})
    assert meant == [False, False, True, True, False]
