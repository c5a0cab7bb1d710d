"""Watching for an answer: whether a lone caller looks for it again and again instead of sleeping until it comes.

What belongs here: when that pays. What does not: the looking (`bounded.py`). On a machine with a processor to spare,
being woken takes longer than the server's answer to a lookup. On one without, the server cannot even begin while its
caller watches, and callers beside each other take from one another what they need. So one caller at a time watches, for
a hundred microseconds, and when that was in vain too often nobody does for a good while.
"""

# One look takes nearly a microsecond.
LOOKS = 120
_JUDGED_EVERY = 256
_MOST_IN_VAIN = 16
_LONGEST_REST = 2**16


class Watching:
    """Says for each question how often to look; safe for threads, whose counts may be a few off."""

    def __init__(self) -> None:
        self.looks = 0
        self._left = self._rest = _JUDGED_EVERY
        self._in_vain = 0

    def begin(self, *, alone: bool) -> int:
        """How often a caller looks, which depends on whether somebody else is asking."""
        if not alone:
            self.looks, self._left = 0, max(self._left, _JUDGED_EVERY)
            return 0
        self._left -= 1
        if self._left <= 0:
            if self.looks:
                self._rest = max(_JUDGED_EVERY, self._rest // 2)
            self.looks, self._left, self._in_vain = LOOKS, _JUDGED_EVERY, 0
        return self.looks

    def in_vain(self) -> None:
        """Somebody looked, and there was no answer yet."""
        self._in_vain += 1
        if self._in_vain >= _MOST_IN_VAIN and self.looks:
            # Longer each time, so that a busy machine hardly notices.
            self._rest = min(_LONGEST_REST, self._rest * 4)
            self.looks, self._left = 0, self._rest
