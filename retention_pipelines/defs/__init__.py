"""The only place that imports dagster: one file per station, thin assets, jobs, schedules, sensors, checks."""
