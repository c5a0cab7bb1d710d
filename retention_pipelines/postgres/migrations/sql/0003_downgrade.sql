drop table public.work_queue;
drop sequence public.worker_id_seq;
