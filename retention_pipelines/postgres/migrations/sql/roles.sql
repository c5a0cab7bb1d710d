-- The three roles, made where missing, and taken on by whoever migrates. Roles belong to the server: several databases
-- may be migrated at the same time, so losing the race is fine.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['retention_owner', 'retention_service', 'retention_readonly'] loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
            begin
                execute format('create role %I nologin', wanted);
            exception when duplicate_object or unique_violation then
                null;
            end;
        end if;
        if not pg_catalog.pg_has_role(current_user, wanted, 'MEMBER')
            or (current_setting('server_version_num')::integer >= 160000
                and not pg_catalog.pg_has_role(current_user, wanted, 'SET')) then
            execute format('grant %I to current_user', wanted);
        end if;
    end loop;
    if not pg_catalog.has_database_privilege('retention_owner', current_database(), 'CREATE') then
        execute format('grant create, connect, temporary on database %I to retention_owner', current_database());
        -- A grant by somebody who may not grant is only a warning in Postgres.
        if not pg_catalog.has_database_privilege('retention_owner', current_database(), 'CREATE') then
            raise insufficient_privilege using message = 'retention_owner may not create schemas in this database';
        end if;
    end if;
    if not pg_catalog.has_schema_privilege('retention_owner', 'public', 'CREATE') then
        grant usage, create on schema public to retention_owner;
        if not pg_catalog.has_schema_privilege('retention_owner', 'public', 'CREATE') then
            raise insufficient_privilege using message = 'retention_owner may not create tables in the schema public';
        end if;
    end if;
end
$$;
