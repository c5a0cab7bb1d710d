"""What a run would do and why: rows selected, sealed in a plan, checked by guards, explained one by one."""
