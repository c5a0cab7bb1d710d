-- Remove one entry of a table by its key.
delete from public.{table} where tenant = %(tenant)s and cache_key = %(target)s
