-- Keys whose counted reads are not those that rows were decided by.
create or replace temp table _retention_read_since as
select key from (select key, hits, last_accessed_at from _retention_newer_reads except from _retention_reads)
