-- Note when training sets of a key, function, model, lake table or tag became invalid, or all of a tenant's.
update public.ml_training_cache as stored
set invalidated_at = greatest(statement_timestamp(), computed_at)
where tenant = %(tenant)s and invalidated_at is null
    and case %(scope)s
        when 'all' then true
        when 'key' then cache_key = %(target)s
        when 'function' then function = %(target)s
        when 'model' then model_type = %(target)s
        when 'tag' then %(target)s = any(tags)
        when 'source' then jsonb_exists(data_versions, %(target)s)
    end
