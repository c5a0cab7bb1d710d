-- Rows that a commit took out, which are those of its old files that are not in its new ones, and that are not there now.
select * from _restore_before
where restored_id not in (select restored_id from _restore_after where restored_id is not null)
    and restored_id not in (select restored_id from _restore_live where restored_id is not null)
