"""The model registry as retention sees it: which models are live, what each needs kept (its roots), and until when.

A root keeps rows while its model is live and for its reproducibility window after it retired. Roots are filters, and a
filter has at most 50 parts: a few studies are named one by one, many by dataset and months, which keeps more, never
less. What does not belong here: registering versions on the caches' way (`cache/models.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.dialects.postgresql import insert

from retention_pipelines.errors import PolicyError
from retention_pipelines.period import Period
from retention_pipelines.postgres import audit
from retention_pipelines.postgres.tables import MODELS, ROOTS
from retention_pipelines.retention.filter.ast import And, Compare, Filter, In
from retention_pipelines.retention.filter.parse import MAX_LENGTH, MAX_NODES, parse
from retention_pipelines.retention.filter.text import text
from retention_pipelines.retention.plans.plan_store import driver, now
from retention_pipelines.retention.policies.governed import governed
from retention_pipelines.warehouse import Lake

DAY_SECONDS = 86_400
# Of a filter's parts; the rest is for what people add.
_MOST_NAMED = MAX_NODES - 10
# Each root is looked at for every row that is decided about.
MOST_ROOTS = 100
# A live model has no end yet; by then it was looked at again.
_FAR = timedelta(days=3650)
_KEEPER = "models"


@dataclass(frozen=True, kw_only=True)
class Need:
    """Something a model needs kept: rows of a dataset, and the lake version they were read at."""

    dataset: str
    match: str
    lake_version: int | None = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """A version of a model; what it needs is kept until `kept_until`, for ever while that is None."""

    model_id: str
    model_version: str
    state: str
    registered_at: datetime
    retired_at: datetime | None
    reproducibility_seconds: int
    roots: int

    @property
    def kept_until(self) -> datetime | None:
        """When its window is over; None while it is live."""
        if self.retired_at is None:
            return None
        try:
            return self.retired_at + timedelta(seconds=self.reproducibility_seconds)
        except OverflowError:
            return None


@dataclass(frozen=True, kw_only=True)
class Root:
    """What a model needs, and whether it still keeps it."""

    model_id: str
    model_version: str
    dataset: str
    match: str
    lake_version: int | None
    in_force: bool


def needs_of_studies(studies: Mapping[str, str], *, lake_version: int | None = None) -> tuple[Need, ...]:
    """What a model trained on these studies needs of the feature store; `studies` maps each id to its month, YYYY-MM.

    Few are named one by one; of many, the months of their datasets are kept from the first to the last.
    """
    if not studies:
        return ()
    named: Filter = In("source_data_id", tuple(sorted(studies)))
    if len(studies) == 1:
        named = Compare("source_data_id", "=", next(iter(studies)))
    if len(studies) <= _MOST_NAMED and len(text(named)) <= MAX_LENGTH:
        return (Need(dataset="feature_store", match=text(named), lake_version=lake_version),)
    spans: dict[str, tuple[str, str]] = {}
    for study, month in studies.items():
        dataset = study.partition("/")[0]
        first, last = spans.get(dataset, (month, month))
        spans[dataset] = (min(first, month), max(last, month))
    return tuple(
        Need(
            dataset="feature_store",
            match=text(
                And(
                    (
                        Compare("dataset_id", "=", dataset),
                        Compare("event_time", ">=", Period.of_month(first).start),
                        Compare("event_time", "<", Period.of_month(last).end),
                    )
                )
            ),
            lake_version=lake_version,
        )
        for dataset, (first, last) in sorted(spans.items())
    )


def needs_of_sets(keys: Iterable[str]) -> tuple[Need, ...]:
    """What a model trained on these training sets needs: the sets themselves."""
    return tuple(
        Need(dataset="training_cache", match=text(Compare("cache_key", "=", key))) for key in dict.fromkeys(keys)
    )


def register_model(
    engine: Engine,
    model_id: str,
    version: str,
    *,
    needs: Sequence[Need],
    registered_by: str,
    reproducibility_seconds: int = 365 * DAY_SECONDS,
) -> Model:
    """Register a version, if it is not, and add what it needs kept; a second time changes nothing.

    Versions that the caches know are the same ones. Predictions of other versions are not touched by this.
    """
    if not model_id.strip() or not version.strip():
        raise PolicyError("A model needs a name and a version.")
    if reproducibility_seconds < 0:
        raise PolicyError("A reproducibility window is not negative.", hint="0 ends it with the model.")
    written = [(need, governed(need.dataset), text(parse(need.match, governed(need.dataset).fields))) for need in needs]
    with engine.begin() as con:
        con.execute(
            insert(MODELS)
            .values(
                model_id=model_id,
                model_version=version,
                details={},
                reproducibility_seconds=reproducibility_seconds,
            )
            .on_conflict_do_nothing()
        )
        for need, dataset, match in written:
            con.execute(
                insert(ROOTS)
                .values(
                    model_id=model_id,
                    model_version=version,
                    dataset=dataset.name,
                    match=match,
                    lake_version=need.lake_version,
                )
                .on_conflict_do_nothing()
            )
        if _count_roots(con, model_id, version) > MOST_ROOTS:
            raise PolicyError(
                f"A model has at most {MOST_ROOTS} roots.", hint="Name datasets and months instead of single studies."
            )
        audit.record(
            driver(con),
            actor=registered_by,
            action="model.registered",
            subject=f"model {model_id} {version}",
            details={"roots": len(written), "reproducibility_seconds": reproducibility_seconds},
        )
    return get_model(engine, model_id, version)


def retire_model(
    engine: Engine,
    model_id: str,
    version: str,
    *,
    retired_by: str,
    reproducibility_seconds: int | None = None,
    at: datetime | None = None,
) -> Model:
    """End a model's life, now or at a past instant; what it needs is kept for its window from then on."""
    instant = func.now() if at is None else at
    values: dict[str, object] = {"state": "retired", "retired_at": func.greatest(instant, MODELS.c.registered_at)}
    if reproducibility_seconds is not None:
        if reproducibility_seconds < 0:
            raise PolicyError("A reproducibility window is not negative.", hint="0 ends it with the model.")
        values["reproducibility_seconds"] = reproducibility_seconds
    known = get_model(engine, model_id, version)
    if at is not None and at.tzinfo is None:
        raise PolicyError("The instant has no time zone.", hint="Write it as 2026-11-01T00:00:00Z.")
    with engine.begin() as con:
        ended = con.execute(
            update(MODELS)
            .where(
                MODELS.c.model_id == model_id,
                MODELS.c.model_version == version,
                MODELS.c.state == "live",
                *([] if at is None else [func.now() >= at]),
            )
            .values(**values)
        ).rowcount
        if not ended:
            reason = "retired already" if known.state == "retired" else "not to be retired in the future"
            raise PolicyError(f"{model_id} {version} is {reason}.", hint="`retention models list` shows the models.")
        audit.record(
            driver(con),
            actor=retired_by,
            action="model.retired",
            subject=f"model {model_id} {version}",
            details={"reproducibility_seconds": reproducibility_seconds or known.reproducibility_seconds},
        )
    return get_model(engine, model_id, version)


def get_model(engine: Engine, model_id: str, version: str) -> Model:
    """A registered version; raises PolicyError where there is none."""
    found = [one for one in list_models(engine) if (one.model_id, one.model_version) == (model_id, version)]
    if not found:
        raise PolicyError(
            f"No model {model_id} {version} is registered.", hint="`retention models list` shows the models."
        )
    return found[0]


def list_models(engine: Engine) -> tuple[Model, ...]:
    """Every registered version, by model and time."""
    roots = (
        select(ROOTS.c.model_id, ROOTS.c.model_version, func.count().label("n"))
        .group_by(ROOTS.c.model_id, ROOTS.c.model_version)
        .subquery()
    )
    query = (
        select(MODELS, func.coalesce(roots.c.n, 0).label("roots"))
        .outerjoin(roots, (roots.c.model_id == MODELS.c.model_id) & (roots.c.model_version == MODELS.c.model_version))
        .order_by(MODELS.c.model_id, MODELS.c.registered_at, MODELS.c.model_version)
    )
    with engine.connect() as con:
        return tuple(
            Model(**{name: getattr(row, name) for name in Model.__dataclass_fields__}) for row in con.execute(query)
        )


def list_roots(engine: Engine, model_id: str | None = None) -> tuple[Root, ...]:
    """What models need, and whether it is still kept for them."""
    until = MODELS.c.retired_at + func.make_interval(0, 0, 0, 0, 0, 0, MODELS.c.reproducibility_seconds)
    in_force = (MODELS.c.retired_at.is_(None) | (until >= func.now())).label("in_force")
    query = (
        select(ROOTS, in_force)
        .join(MODELS, (MODELS.c.model_id == ROOTS.c.model_id) & (MODELS.c.model_version == ROOTS.c.model_version))
        .order_by(ROOTS.c.model_id, ROOTS.c.model_version, ROOTS.c.dataset, ROOTS.c.match)
    )
    if model_id is not None:
        query = query.where(ROOTS.c.model_id == model_id)
    with engine.connect() as con:
        return tuple(
            Root(**{name: getattr(row, name) for name in Root.__dataclass_fields__}) for row in con.execute(query)
        )


def keep_lake_versions(engine: Engine, lake: Lake) -> dict[str, tuple[int, ...]]:
    """Let vacuum keep the lake versions that models were trained on, until their windows are over; returns them.

    Called when models change and before runs vacuum; in between, files of the last 7 days are kept anyway.
    """
    ends = {(model.model_id, model.model_version): model.kept_until for model in list_models(engine)}
    wanted: dict[str, set[int]] = {}
    last = now(engine)
    for root in list_roots(engine):
        dataset = governed(root.dataset)
        if not root.in_force or root.lake_version is None or dataset.store != "lake" or dataset.archived:
            continue
        wanted.setdefault(dataset.table, set()).add(root.lake_version)
        last = max(last, ends[root.model_id, root.model_version] or now(engine) + _FAR)
    tables = {name: tuple(sorted(versions)) for name, versions in wanted.items()}
    if not tables:
        lake.release(_KEEPER)
        return tables
    lake.keep(_KEEPER, tables, until=last)
    for name in tables:
        if lake.table(name).version() >= 0:
            # A version is its log: without it nobody knows which files it had.
            lake.table(name).keep_log((last - now(engine)).days + 1)
    return tables


def _count_roots(con: Connection, model_id: str, version: str) -> int:
    query = select(func.count()).where(ROOTS.c.model_id == model_id, ROOTS.c.model_version == version)
    return int(con.execute(query.select_from(ROOTS)).scalar_one())
