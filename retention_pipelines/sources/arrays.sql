-- Rows given as arrays, with the hash of the raw row; a variable a row has neither value nor flag of is left out.
select columns_given.* exclude (measurements), array_hashes.record_hash,
    list_filter(measurements, lambda one: one.value is not null or one.raw_value is not null
        or one.qc_flag is not null or one.raw_qc_flag is not null) as measurements
from array_columns as columns_given
join array_hashes using (source_row)
