"""A life of daily runs in a faked time: `… -m tests.integration.retention_clock_worker DATABASE LAKE STATE CLOCK DAYS`.

It runs under libfaketime like its server; both read how far the clock is ahead from the file CLOCK, which this process
writes. Every day some entries are cached and the policies of the inference cache are run; what is left must be what the
rule says, key by key. DAYS are numbers of days after the first, in order. A line of JSON says what became of each.
"""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from retention_pipelines.errors import RunRefused
from retention_pipelines.postgres.address import EVERY_TENANT
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.partitions import add_day_partitions
from retention_pipelines.retention.runs.run import Runner, runner
from retention_pipelines.settings import load_settings

PER_DAY = 6
INSERT = """
insert into ml_inference_cache
    (tenant, cache_key, model_id, model_type, model_version, payload, payload_codec, payload_mac, computed_at,
     expires_at, expires_on, confidence, compute_seconds)
values ('a', %s, 'm', 't', '1', 'x', 'c', %s, %s, %s, coalesce((%s::timestamptz at time zone 'UTC')::date, 'infinity'),
    0.5, 1)
"""


class Life:
    """What was cached and when it must go."""

    def __init__(self, retention: Runner, con: psycopg.Connection[tuple[object, ...]], clock: Path) -> None:
        self.retention, self.con, self.clock = retention, con, clock
        self.base = int(clock.read_text())
        self.horizons: dict[str, datetime] = {}

    def set_clock(self, day: int) -> None:
        """Move every process to a day."""
        new = self.clock.with_suffix(".new")
        new.write_text(f"{self.base + day * 86_400:+d}")
        new.replace(self.clock)

    def cache(self, day: int) -> None:
        """Half of the entries have an end of their own a day later, the others go a week after they were computed."""
        now = datetime.now(UTC)
        add_day_partitions(self.con, "ml_inference_cache", now.date(), (now + timedelta(days=2)).date())
        for number in range(PER_DAY):
            key, ends = f"k{day}-{number}", now + timedelta(days=1) if number % 2 else None
            self.con.execute(INSERT, (key, bytes(32), now, ends, ends))
            self.horizons[key] = ends or now + timedelta(days=7)

    def run(self, policy_id: str, *, confirm: bool = True) -> tuple[datetime, str]:
        """Plan and execute one policy; the instant of the plan, and what became of it."""
        plan = self.retention.plan(self.retention.planner.registry.get(policy_id))
        try:
            outcome = self.retention.execute(plan.sha256, confirm=plan.sha256 if confirm else None)
        except RunRefused as error:
            return plan.as_of, error.message
        return plan.as_of, outcome.state

    def left(self) -> set[str]:
        """The keys that are there."""
        return {str(row[0]) for row in self.con.execute("select cache_key from ml_inference_cache")}


def main() -> None:
    database, lake, state, clock, *days = sys.argv[1:]
    settings = load_settings({}, database_url=database, lake_root=lake, state_dir=Path(state))
    with runner(settings) as retention, connect(retention.server, tenant=EVERY_TENANT, autocommit=True) as con:
        life = Life(retention, con, Path(clock))
        for day in map(int, days):
            life.set_clock(day)
            life.cache(day)
            ended, unused = life.run("ic_expired"), life.run("ic_old_unused")
            expected = {
                key
                for key, horizon in life.horizons.items()
                if horizon >= (ended[0] if int(key.rpartition("-")[2]) % 2 else unused[0])
            }
            retention.sweep()
            told = {
                "day": day,
                "now": datetime.now(UTC).isoformat(),
                "states": [ended[1], unused[1]],
                "left": len(expected),
                "right": life.left() == expected,
            }
            print(json.dumps(told), flush=True)
        for jump in (400, -2):
            last = int(days[-1])
            life.set_clock(last + jump)
            said = [life.run("ic_old_unused", confirm=confirm)[1] for confirm in (False, True)]
            print(json.dumps({"jump": jump, "said": said}), flush=True)


if __name__ == "__main__":
    main()
