-- Postgres: remove rows the lake does not have any more: of all studies, or of those looked at.
delete from online_features as old
where old.tenant = %(tenant)s
    and old.feature_type = %(feature_type)s
    and (%(everything)s or old.entity in (select entity from _gone))
    and not exists (select from _fresh where _fresh.entity = old.entity)
