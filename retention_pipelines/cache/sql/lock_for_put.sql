-- Stores of a table follow one another, so that the newest value of a key wins whatever days the values expire on; and
-- no invalidation commits between the look at its log and the end of the store. A statement of its own: the next one's
-- snapshot is taken when these are held.
select
    pg_advisory_xact_lock_shared(hashtext('retention_invalidation')),
    pg_advisory_xact_lock(hashtext('retention_put'), hashtext($1))
