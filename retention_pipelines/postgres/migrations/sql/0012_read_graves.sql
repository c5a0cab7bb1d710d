-- Who only reads may look into the graveyard, too: a lookup that was refused there counted as a failure of the database.
-- Frozen: what came later is in later migrations.
grant execute on function public.retention_is_outdated(public.ml_inference_cache) to retention_readonly;
