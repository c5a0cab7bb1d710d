"""Early refresh (XFetch): one caller renews an entry shortly before it expires, so that nobody waits when it does.

The chance rises as expiry comes near, and earlier for slow functions: an entry is due when
`remaining <= compute_seconds * beta * -ln(u)` for a uniform `u`. Pure; who acts on it is `calls.py`.
Vattani, Chierichetti, Lowenstein, Optimal Probabilistic Cache Stampede Prevention, VLDB 2015.
"""

import math


def due(*, remaining_seconds: float | None, compute_seconds: float, beta: float, u: float) -> bool:
    """Whether this caller should renew the entry now.

    Args:
        remaining_seconds: life left; None: it never expires.
        compute_seconds: measured time of the computation.
        beta: above 1 renews earlier, below 1 later, 0 never.
        u: a random number in (0, 1]; 0 counts as certainly due.
    """
    if remaining_seconds is None or beta <= 0:
        return False
    if u <= 0.0:
        return True
    return remaining_seconds <= compute_seconds * beta * -math.log(u)
