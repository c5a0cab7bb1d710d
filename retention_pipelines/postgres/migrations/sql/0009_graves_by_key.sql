-- Files of the archive are seen by the tenant whose training set they hold, as their neighbours are; those that hold rows
-- of all tenants by who acts for all. A tombstone says where in the graveyard its entry lies, so that a request within the
-- grace finds it without an index that every removal would have to keep. Frozen: what came later is in later migrations.
alter table cold_files add column tenant text;
comment on column cold_files.tenant is 'Whose training set it holds; null: a file of rows, which may be of all tenants.';
update cold_files set tenant = row_id::jsonb ->> 0 where row_id is not null;

alter table cold_files enable row level security;
alter table cold_files force row level security;
create policy tenant_only on cold_files using (current_setting('retention.tenant', true) in (tenant, '*'));

alter table tombstones add column position bigint constraint ck_tombstones_position check (position >= 0);
comment on column tombstones.position is 'Its place in the plan, by which the graveyard has it while its grace lasts.';
