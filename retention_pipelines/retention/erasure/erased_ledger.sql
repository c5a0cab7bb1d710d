-- Lines of the ledger without the rows that were erased, so that it still adds up; of several lines with the same
-- content the newest gives first. Inputs: erased_ledger_rows; temp table erased_written(sha256, n_values, n_rows,
-- n_quarantined).
with shares as (
    select l.*,
        coalesce(w.n_values, 0) as n_values, coalesce(w.n_rows, 0) as n_rows, coalesce(w.n_quarantined, 0) as n_quarantined,
        coalesce(sum("values") over later, 0) as later_values,
        coalesce(sum(accepted) over later, 0) as later_accepted,
        coalesce(sum(quarantined) over later, 0) as later_quarantined
    from erased_ledger_rows l
    left join erased_written w on l.sha256 = w.sha256 and l.status = 'ingested' and l.role = 'records'
    window later as (
        partition by l.sha256, l.status, l.role order by l.ingested_at desc, l.path
        rows between unbounded preceding and 1 preceding
    )
),
given as (
    select *,
        greatest(0, least("values", n_values - later_values)) as less_values,
        greatest(0, least(accepted, n_rows - later_accepted)) as less_accepted,
        greatest(0, least(quarantined, n_quarantined - later_quarantined)) as less_quarantined
    from shares
)
select * exclude (
        n_values, n_rows, n_quarantined, later_values, later_accepted, later_quarantined, less_values, less_accepted,
        less_quarantined)
    replace (
        ("read" - less_accepted - less_quarantined)::bigint as "read",
        (accepted - less_accepted)::bigint as accepted,
        (quarantined - less_quarantined)::bigint as quarantined,
        ("values" - less_values)::bigint as "values",
        case when less_accepted + less_quarantined > 0
            then concat_ws(' ', notes, (less_accepted + less_quarantined)::bigint || ' rows were erased by order.')
            else notes end as notes,
        case when less_quarantined > 0 then '{}' else reasons end as reasons
    )
from given
