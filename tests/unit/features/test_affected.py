"""What late records may change, against recomputing everything."""

from datetime import UTC, datetime, timedelta

import pytest

from retention_pipelines.features.affected import affected_months
from retention_pipelines.features.compute import compute_features
from retention_pipelines.features.options import FeatureOptions

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_occurrences_reach_only_their_own_month(lake, add_occurrences):
    add_occurrences(*({"event_start": datetime(2017, month, 3, tzinfo=UTC)} for month in range(1, 9)))
    assert affected_months(lake, ["2017-03"]) == ("2017-03",)


def test_observations_reach_the_months_that_look_back_to_them_and_the_same_month_of_later_years(
    lake, add_occurrences, add_observations
):
    add_occurrences(*({"event_start": datetime(y, m, 3, tzinfo=UTC)} for y in (2015, 2016, 2017) for m in range(1, 13)))
    add_observations({"event_start": datetime(2016, 3, 20, tzinfo=UTC)})
    assert affected_months(lake, ["2016-03"]) == ("2016-03", "2016-04", "2017-03")
    month = FeatureOptions(window=timedelta(days=45))
    assert affected_months(lake, ["2016-03"], month) == ("2016-03", "2016-04", "2016-05", "2017-03")
    add_observations({"event_start": datetime(2017, 12, 5, tzinfo=UTC)})
    assert affected_months(lake, ["2017-12"]) == ("2017-12",)


@pytest.mark.parametrize("precision", ["day", "month"])
def test_computing_the_affected_months_after_late_observations_equals_computing_everything(
    lake, add_occurrences, add_observations, stored, precision
):
    add_occurrences(
        *(
            {"event_id": f"{y}-{m}-{d}", "event_start": datetime(y, m, d, tzinfo=UTC)}
            for y in range(2013, 2018)
            for m in range(1, 7)
            for d in (1, 10, 27)
        )
    )
    add_observations(
        *(
            {"event_id": f"{y}-{m}", "event_start": datetime(y, m, 9, tzinfo=UTC), "value": 15.0 + y % 3}
            for y in range(2013, 2018)
            for m in range(1, 7)
        )
    )
    compute_features(lake, months=None, now=NOW)
    late = {"event_start": datetime(2014, 2, 1, tzinfo=UTC), "date_precision": precision, "value": 20.0}
    add_observations(
        late
        | {"event_end": datetime(2014, 3, 1, tzinfo=UTC) if precision == "month" else datetime(2014, 2, 2, tzinfo=UTC)}
    )
    run = compute_features(lake, months=affected_months(lake, ["2014-02"]), now=NOW + timedelta(days=1))
    changed = {row["month"] for row in stored("environmental") if row["version"] == 2}
    assert "2017-02" in changed
    if precision == "month":
        assert {"2014-03"} <= changed
    assert set(run.months) < {f"{y}-{m:02d}" for y in range(2013, 2018) for m in range(1, 7)}
    assert compute_features(lake, months=None, now=NOW + timedelta(days=2)).rows_added == 0
