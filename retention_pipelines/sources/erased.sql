-- Rows of `checked_rows` that name what was erased: nothing of them is kept but that they were there.
update checked_rows
set reason = 'erased',
    detail = 'An order erased what this row is about; nothing of it is kept.',
    record_hash = md5('erased ' || source_row || ' of ' || record_hash)
where source_row in (
    select c.source_row from erased_candidates c join erased_values e on c.named = e.erased_value
)
