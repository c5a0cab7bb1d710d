drop table public.online_loads, public.online_features;
