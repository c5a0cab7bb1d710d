-- As 0011 left them.
revoke execute on function public.retention_is_outdated(public.ml_inference_cache) from retention_readonly;
