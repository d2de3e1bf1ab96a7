"""The job as Prefect runs it: the functions of `ecomintent_batch/pipeline.py` as tasks, and no logic of its own."""
