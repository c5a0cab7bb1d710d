-- Species features of the loaded occurrence studies, by docs/definitions.md.
-- Inputs: _study, _occurrence_records, _traits (scientific_name, threatened, commercial, endemic; null: not stated).
with counted as (
    select dataset_id, event_id, taxon_name(scientific_name) as taxon,
           -- A number that is no quantity (a missing-value code the mapping does not name) is none, not a failed run.
           case when isfinite(abundance) and abundance > 0 then abundance end as abundance,
           case when isfinite(density) and density >= 0 then density end as density, density_unit
    from _occurrence_records
    where occurrence_status = 'present' and not is_subtotal and taxon_name(scientific_name) <> ''
),
-- A study is counted by abundance where its source states one, else by records.
study_basis as (
    select dataset_id, event_id, count(abundance) > 0 as has_abundance
    from counted group by dataset_id, event_id
),
taxa as (
    select dataset_id, event_id, taxon, has_abundance,
           case when has_abundance then sum(abundance) else count(*)::double end as n_i
    from counted join study_basis using (dataset_id, event_id)
    group by dataset_id, event_id, taxon, has_abundance
    having n_i > 0
),
shares as (
    select *, n_i / sum(n_i) over (partition by dataset_id, event_id) as p
    from taxa
),
diversity as (
    select dataset_id, event_id, any_value(has_abundance) as has_abundance,
           count(*) as richness, -sum(p * ln(p)) as shannon, sum(p * p) as simpson_d, sum(n_i) as total,
           arg_max(taxon, (p, -rank_in_name)) as dominant_taxon, max(p) as dominant_share,
           count(*) filter (threatened) as threatened, count(*) filter (commercial) as commercial,
           count(*) filter (endemic) as endemic
    from (select *, row_number() over (partition by dataset_id, event_id order by taxon) as rank_in_name from shares)
    left join _traits on _traits.scientific_name = taxon
    group by dataset_id, event_id
),
records as (
    select dataset_id, event_id, count(*) as n_records,
           case when count(distinct density_unit) <= 1 then sum(density) end as total_density,
           case when count(distinct density_unit) = 1 and count(density) > 0 then min(density_unit) end as total_density_unit
    from counted group by dataset_id, event_id
)
select source_data_id,
       coalesce(records.n_records, 0) as n_records,
       coalesce(richness, 0) as richness,
       -- Null, not 0, for a study without a presence: there is nothing to be diverse.
       round(shannon, 9) + 0.0 as shannon,
       greatest(round(1 - simpson_d, 9), 0.0) + 0.0 as gini_simpson,
       case when richness >= 2 then round(shannon / ln(richness), 9) + 0.0 end as pielou,
       case when has_abundance then 'abundance' when richness is not null then 'records' end as diversity_basis,
       dominant_taxon,
       round(dominant_share, 9) as dominant_share,
       case when has_abundance then round(total, 6) end as total_abundance,
       round(total_density, 6) as total_density,
       total_density_unit,
       case when getvariable('has_threatened') then round(threatened / richness, 9) end as threatened_share,
       case when getvariable('has_commercial') then round(commercial / richness, 9) end as commercial_share,
       case when getvariable('has_endemic') then round(endemic / richness, 9) end as endemic_share
from _study
left join diversity using (dataset_id, event_id)
left join records using (dataset_id, event_id)
where source_table = 'occurrences'
order by source_data_id;
