-- Everything 0006 made.
drop function public.retention_bury_day_partition(text, text, text, bigint);
drop function public.retention_drop_buried_partition(text);
drop table public.graveyard;
drop table public.buried_partitions;
drop schema retention_graveyard cascade;
