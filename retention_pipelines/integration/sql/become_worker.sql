-- A number for this session, and the lock that says it lives; the server frees it when the session ends, however it ends.
with number as materialized (select nextval('worker_id_seq')::integer as worker_id)
select worker_id, pg_advisory_lock(hashtext('retention_worker'), worker_id) from number
