-- Remove the rows of a table that expired so long ago. Days that are over go with their partitions; this is for the
-- rest, in the default one for the most part.
delete from public.{table}
where expires_on <= ((statement_timestamp() - make_interval(secs => %(keep)s)) at time zone 'UTC')::date
    and expires_at <= statement_timestamp() - make_interval(secs => %(keep)s)
