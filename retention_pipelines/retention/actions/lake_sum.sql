-- How many rows, and what they hold whatever their order: two sets with equal sums are taken for equal.
select count(*), coalesce(bit_xor(hash(summed)), 0), coalesce(sum(hash(summed)::hugeint), 0) from _retention_summed as summed
