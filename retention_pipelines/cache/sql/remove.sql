-- Remove the entries of a table that an invalidation names.
delete from public.{table} as stored
where (%(tenant)s::text is null or stored.tenant = %(tenant)s)
    and case %(scope)s
        when 'all' then true
        when 'key' then stored.cache_key = %(target)s
        when 'function' then stored.function = %(target)s
        when 'tag' then %(target)s = any(stored.tags)
        when 'model' then %(target)s = {model}
        when 'source' then %(target)s in ({sources})
    end
