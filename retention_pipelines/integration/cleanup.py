"""Cleanup: remove what has expired from the caches, when somebody asks for it.

What belongs here: expired entries of the caches, counted. What does not: which data policies let go (`retention/`), how
rows and days are removed (`cache/days.py`). Expired entries are never served; removing them only gives the space back.
"""

from dataclasses import dataclass
from importlib import resources

from retention_pipelines.cache.days import held_datasets, remove_expired
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.cache.training.answers import sets_of
from retention_pipelines.errors import CacheError
from retention_pipelines.postgres.bounded import BoundedConnection

_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Removed:
    """Rows that were removed, by table, and the bytes of training-set files that went with theirs."""

    ml_feature_store: int
    ml_inference_cache: int
    ml_training_cache: int
    training_file_bytes: int


def clean_expired(runtime: CacheRuntime) -> Removed:
    """Remove all expired rows of the caches, whole days by dropping their partitions, and files no set needs.

    Predictions or training sets stay, all of them, while a legal hold on them is open.

    Raises:
        CacheError: nothing was removed, because there is no database, it does not answer, or the mode is read_only.
    """
    if runtime.hot is None:
        raise CacheError("There is no Postgres tier to clean.", hint="Set RETENTION_DATABASE_URL.")
    if runtime.read_only:
        raise CacheError("Nothing is removed in the mode read_only.", hint="Leave it first, or clean up elsewhere.")
    count = resources.files(__package__).joinpath("expired_rows.sql").read_bytes()

    def work(con: BoundedConnection) -> tuple[int, int, int | None]:
        # A day's partition holds rows of all tenants.
        con.execute("set local retention.tenant = '*'")
        features, predictions = con.execute(count).fetchall()[0]
        held = held_datasets(con)
        remove_expired(con, 0.0)
        predictions = 0 if "inference_cache" in held else predictions
        if "training_cache" in held:
            return features, predictions, None
        trained = con.execute("delete from public.ml_training_cache where expires_at <= statement_timestamp()")
        return features, predictions, trained.rowcount

    features, predictions, trained = runtime.hot.change(work, seconds=_SECONDS)
    sets = sets_of(runtime)
    return Removed(
        ml_feature_store=features,
        ml_inference_cache=predictions,
        ml_training_cache=trained or 0,
        training_file_bytes=0 if sets is None or trained is None else sets.clean(),
    )
