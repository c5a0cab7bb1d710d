"""What a lake holds, simulated or real, so that the two are never mixed unseen.

A delivered file is simulated when its name starts with `simulated_`, as every file of the simulation does. Belongs
here: telling, and taking simulated data out again. Not here: whether to (`cli/demo.py` decides).
"""

from dataclasses import dataclass
from typing import Literal

from retention_pipelines.catalog import DATASETS
from retention_pipelines.demo.labels import PREFIX
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import bind, set_variables, statement


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """Number of delivered files that rows were taken from."""

    simulated: int
    real: int

    @property
    def share(self) -> Literal["none", "some", "all"]:
        """How much of the lake is simulated."""
        if not self.simulated:
            return "none"
        return "some" if self.real else "all"


def holdings(lake: Lake) -> Holdings:
    """Count the files; the ledger is asked as it stands, published or not."""
    bind(lake.con, "delivered", lake.table("ingested_files").scan())
    set_variables(lake.con, prefix=PREFIX)
    ((simulated, real),) = lake.con.execute(statement("retention_pipelines.demo", "holdings")).fetchall()
    return Holdings(simulated=simulated, real=real)


def empty_lake(lake: Lake) -> None:
    """Take every row out of every dataset, in one transaction; nobody sees half of it."""
    with lake.transaction("demo:start-over") as op:
        for name in DATASETS:
            lake.table(name).drop_partitions(lambda _: True, op=op)
