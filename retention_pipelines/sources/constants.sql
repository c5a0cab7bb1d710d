-- Types of one text each, for the columns that are the same in every row of a part: written at a fraction of the cost.
create or replace temp type dataset_name as enum (select getvariable('dataset_id'));
create or replace temp type source_file_name as enum (select getvariable('source_file'));
create or replace temp type source_digest as enum (select getvariable('source_sha256'));
