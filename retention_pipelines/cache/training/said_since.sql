-- Whether an invalidation after a number names a training set. A model's new version says nothing about what it was
-- trained on; only a model as a whole does.
select exists (
    select from public.invalidation_log as said
    where said.seq > %(seen)s
        and (said.tenant is null or said.tenant = %(tenant)s)
        and case said.scope
            when 'all' then true
            when 'key' then said.target = %(key)s
            when 'function' then said.target = %(function)s
            when 'model' then said.version is null and said.target = %(model)s
            when 'tag' then said.target = any(%(tags)s::text[])
            when 'source' then said.target = any(%(sources)s::text[])
        end
)
