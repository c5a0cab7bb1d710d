-- One name per licence, as licences.py has it; a text that names none stays as it is. Temporary, loaded per connection.
create or replace temp macro licence_of(t) as case
    when regexp_matches(t, 'creativecommons\.org/publicdomain/zero|\bCC[ -]?0\b|\bCC[ -]Zero\b', 'i') then 'CC0-1.0'
    when regexp_matches(t, 'creativecommons\.org/licen[sc]es/by(-nc)?(-nd|-sa)?/\d\.\d', 'i')
        then 'CC-' || upper(regexp_extract(t, 'licen[sc]es/(by[-a-z]*)/(\d\.\d)', 1, 'i'))
            || '-' || regexp_extract(t, 'licen[sc]es/(by[-a-z]*)/(\d\.\d)', 2, 'i')
    when regexp_matches(t, '\bCC[ -]BY', 'i')
        then rtrim('CC-' || upper(regexp_replace(
            regexp_extract(t, '\bCC[ -](BY([ -]NC)?([ -](ND|SA))?)', 1, 'i'), '[ -]+', '-', 'g'))
            || '-' || regexp_extract(t, '\bCC[ -]BY([ -]NC)?([ -](ND|SA))?[ -]?v?(\d\.\d)?', 4, 'i'), '-')
    else t end;
