select count(*), count(*) filter (where gone), coalesce(sum(size_bytes) filter (where gone), 0.0) from _sim_rows
