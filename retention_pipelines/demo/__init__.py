"""The demo: a simulated survey written as real formats, and a short report on any lake.

Everything simulated says so: dataset_id `simulated_…`, the archive's title, the citation. Nothing else of the
package knows this one; the demo uses the same ingestion, features, series and Dagster assets as real data.
"""
