"""The job as a Prefect flow: the only package that imports Prefect."""
