-- Occurrences by term, joined to their events and facts. A record's own date, position and depth win over its event's,
-- each as a whole. `dwc_occurrence`: rows by term; `dwc_event_found`: events; `dwc_facts`: their facts, by occurrence.
with facts as (
    select occurrence_key,
        arg_min(number_value, source_row) filter (kind = 'count' and isfinite(number_value)) as counted,
        arg_min(number_value, source_row) filter (kind = 'density' and isfinite(number_value)) as density,
        arg_min(coalesce(unit, fact), source_row) filter (kind = 'density' and isfinite(number_value)) as density_unit,
        list(json_object('type', fact, 'value', fact_value, 'unit', unit) order by source_row)
            filter (kind is null or not coalesce(isfinite(number_value), false)) as others
    from dwc_facts where occurrence_row is not null group by occurrence_key
), event_facts as (
    select event_key, list(json_object('type', fact, 'value', fact_value, 'unit', unit) order by source_row) as others
    from dwc_facts where occurrence_key is null and variable is null and event_is_known group by event_key
), joined as (
    select o.*,
        coalesce(o.eventID, e.event_id) as event,
        coalesce(written_date(o.eventDate, o.eventTime, o."year", o."month", o."day"), e.written) as written,
        o.decimalLatitude is not null and o.decimalLongitude is not null as has_position,
        coalesce(o.minimumDepthInMeters, o.maximumDepthInMeters) is not null as has_depth,
        e.event_key as found_event, e.latitude, e.longitude, e.uncertainty, e.depths, e.bathymetry as event_bottom,
        e.protocol, e.place, e.country, e.licence as event_licence, e.rights_holder as event_holder, e.citation,
        e.extra as event_extra, f.counted, f.density, f.density_unit, f.others, event_facts.others as event_others
    from (
        select *, case when getvariable('core_is_event') then coalesce(part_key, eventID) end as event_key,
            case when getvariable('core_is_event') then occurrenceID else coalesce(part_key, occurrenceID) end
                as occurrence_key
        from dwc_occurrence
    ) o
    left join dwc_event_found e using (event_key)
    left join facts f using (occurrence_key)
    left join event_facts using (event_key)
), parsed as (
    select *,
        given_number(individualCount) as individuals,
        given_number(organismQuantity) as quantity,
        given_number(case when has_depth then minimumDepthInMeters else depths.low end) as low,
        given_number(case when has_depth then maximumDepthInMeters else depths.high end) as high,
        given_number(coalesce(coordinateUncertaintyInMeters, case when not has_position then uncertainty end)) as radius,
        case when organismQuantityType is not null
            then quantity_kind(organismQuantityType, organismQuantityType, null) end as quantity_is
    from joined
), counted as (
    select *,
        case when individuals >= 0 then individuals end as individual_count,
        case when quantity_is = 'density' and quantity >= 0 then quantity else density end as found_density,
        case when quantity_is = 'density' then organismQuantityType else density_unit end as found_unit,
        coalesce(case when individuals >= 0 then individuals end,
            case when quantity_is = 'count' and quantity >= 0 then quantity end, case when counted >= 0 then counted end)
            as abundance
    from parsed
), judged as (
    select *,
        coalesce(is_absence(occurrenceStatus), false) or coalesce(lower(absence) = 'true', false) as says_absent,
        coalesce(abundance, quantity, found_density) = 0 as is_zero,
        -- Making JSON takes longer than all the rest, so it is made where there is something to say.
        datasetID is not null or others is not null or event_others is not null
            or (individualCount is not null and individual_count is null)
            or coalesce(lower(occurrenceStatus) not in ('present', 'absent'), false) as has_more
    from counted
)
select source_row,
    occurrenceID as occurrence_id,
    event as event_id,
    written as event_date,
    case when has_position then decimalLatitude else coalesce(latitude, decimalLatitude) end as decimal_latitude,
    case when has_position then decimalLongitude else coalesce(longitude, decimalLongitude) end as decimal_longitude,
    case when radius between 0 and 10000000 then radius end as coordinate_uncertainty_in_meters,
    low as minimum_depth_in_meters,
    high as maximum_depth_in_meters,
    given_number(coalesce(bathymetry, event_bottom)) as bottom_depth_m,
    scientificName as scientific_name,
    scientificNameID as scientific_name_id,
    vernacularName as vernacular_name,
    taxonRank as taxon_rank,
    kingdom, phylum, "class", "order", family, genus,
    lifeStage as life_stage,
    sex,
    individual_count,
    quantity as organism_quantity,
    organismQuantityType as organism_quantity_type,
    abundance,
    case when found_density >= 0 then found_density end as density,
    case when found_density >= 0 then found_unit end as density_unit,
    case when says_absent or is_zero then 'absent' else 'present' end as occurrence_status,
    false as is_subtotal,
    basisOfRecord as basis_of_record,
    coalesce(samplingProtocol, protocol) as sampling_protocol,
    coalesce(locality, place) as locality,
    coalesce(countryCode, country) as country_code,
    licence_of(coalesce(license, event_licence, getvariable('licence'))) as licence,
    coalesce(rightsHolder, event_holder) as rights_holder,
    coalesce(bibliographicCitation, citation, getvariable('citation')) as bibliographic_citation,
    coalesce(string_split(nullif(concat_ws(' ',
        case when low is null and high is null then 'NO_DEPTH' end,
        case when low > high then 'MIN_DEPTH_EXCEEDS_MAX' end,
        case when greatest(low, high) > 11000 or least(low, high) < -100000 then 'DEPTH_OUT_OF_RANGE' end,
        case when says_absent and coalesce(abundance, quantity, found_density) > 0
            or is_zero and occurrenceStatus is not null and not says_absent then 'STATUS_CONTRADICTS_COUNT' end,
        case when given(individualCount) is not null and individual_count is null then 'INVALID_MEASUREMENT' end,
        case when radius < 0 or radius > 10000000 then 'UNCERTAINTY_OUT_OF_RANGE' end
    ), ''), ' '), []) as flags,
    case
        when event_extra is null and not has_more then case when extra::varchar <> '{}'
            then without_nulls(json_merge_patch(extra, '{"individualCount": null, "occurrenceStatus": null,
                "measurementOrFact": null, "eventMeasurementOrFact": null, "datasetID": null}'::json)) end
        else without_nulls(json_merge_patch(coalesce(event_extra, '{}'::json), extra, json_object(
            'individualCount', case when individual_count is null then individualCount end,
            'occurrenceStatus', case when lower(occurrenceStatus) not in ('present', 'absent') then occurrenceStatus end,
            'measurementOrFact', others, 'eventMeasurementOrFact', event_others, 'datasetID', datasetID
        )))
    end as dynamic_properties,
    case when getvariable('core_is_event') and found_event is null and not has_position then 'unmatched_join' end as reason,
    case when getvariable('core_is_event') and found_event is null and not has_position
        then 'The event ' || coalesce(event, part_key, '(none)') || ' is not in the event file.' end as detail
from judged
