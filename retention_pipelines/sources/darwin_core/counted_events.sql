-- Rows of the event file that are no empty events: counted, without values.
select r.* exclude (is_parent, event_key, is_first),
    []::struct("variable" varchar, standard_name varchar, "value" double, value_kind varchar, raw_value double,
        qc_flag varchar, raw_qc_flag varchar, qc_scale varchar, qc_good boolean)[] as measurements
from dwc_event_rows r
where r.source_row not in (select source_row from dwc_empty_events)
