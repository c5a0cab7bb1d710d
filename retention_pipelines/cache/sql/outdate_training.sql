-- Training sets that an invalidation names are not used any more; their files go by policy.
update public.ml_training_cache as stored
set invalidated_at = greatest(statement_timestamp(), stored.computed_at)
where stored.invalidated_at is null
    and (%(tenant)s::text is null or stored.tenant = %(tenant)s)
    and case %(scope)s
        when 'all' then true
        when 'key' then stored.cache_key = %(target)s
        when 'function' then stored.function = %(target)s
        when 'tag' then %(target)s = any(stored.tags)
        when 'source' then stored.data_versions ? %(target)s
        else false
    end
