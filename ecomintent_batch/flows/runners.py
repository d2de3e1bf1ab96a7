"""Where the shards of a run are classified: in the flow's own process, in one process a core or GPU, or on a Ray cluster.

All three run the same task over the same paths. What a shard takes and gives can travel, and no result depends on where.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import current_process
from pathlib import Path
from typing import Any, Literal

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from ecomintent_batch.errors import UsageError
from ecomintent_batch.inference.engines import count_cores, count_gpus
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.settings import RunSettings

Runner = Literal["inline", "process", "ray"]


@contextmanager
def open_runner(
    runner: Runner, settings: RunSettings, ray_address: str | None
) -> Iterator[TaskRunner[Any]]:
    """Yield the task runner that the shards are mapped over; what it started is gone when this is left."""
    if runner == "ray":
        with _join_ray(settings, ray_address) as cluster:
            yield cluster
    elif runner == "process":
        gpus = 0 if settings.device == "cpu" else 1 if ":" in settings.device else count_gpus()
        workers = gpus or max(1, count_cores() // (settings.threads or 1))
        with ProcessPoolTaskRunner(
            max_workers=workers, initializer=keep_one_gpu, initargs=(gpus,)
        ) as processes:
            yield processes
    else:
        # Two: a shard is cleaned and tokenised while the one before it is scored, and two are held in memory.
        inline: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=2)
        with inline:
            yield inline


def keep_one_gpu(gpus: int) -> None:
    """Leave one of several GPUs to this worker of a pool: the one of its number, so that no two share one."""
    if gpus > 1:
        names = (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))).split(
            ","
        )
        os.environ["CUDA_VISIBLE_DEVICES"] = names[
            int(current_process().name.rpartition("-")[2]) % len(names)
        ]


def adapt_to_runner(
    runner: Runner, settings: RunSettings, folder: RunFolder
) -> tuple[RunSettings, RunFolder]:
    """Return settings and folder as a shard needs them elsewhere: absolute paths, one thread, the one GPU it is given."""
    if runner == "inline":
        return settings, folder
    changes: dict[str, Any] = {"threads": settings.threads or 1}
    if settings.model and Path(settings.model).exists():
        changes["model"] = str(Path(settings.model).absolute())
    if runner == "ray" and settings.device.startswith("cuda"):
        changes["device"] = "cuda"  # Ray shows a task its own GPU only, whatever the number
    return settings.model_copy(update=changes), RunFolder(folder.out.absolute(), folder.run_id)


@contextmanager
def _join_ray(settings: RunSettings, address: str | None) -> Iterator[TaskRunner[Any]]:
    try:
        import ray
        from prefect_ray import RayTaskRunner
        from prefect_ray.context import remote_options
    except ModuleNotFoundError:
        raise UsageError(
            "runner ray: expected prefect-ray, found none; pip install 'ecomintent-batch[ray]'"
        ) from None
    # The logs of the shards reach Prefect from where they run; Ray's copy on the flow's terminal would be a second one.
    cluster = RayTaskRunner(address=address, init_kwargs={"log_to_driver": False})
    with cluster:
        share: dict[str, Any] = {"num_cpus": settings.threads or 1}
        if ray.cluster_resources().get("GPU") and settings.device != "cpu":
            # Without max_calls Ray ends the process of a GPU task behind it, and each shard would load the model.
            share |= {"num_gpus": 1, "max_calls": 0}
        with remote_options(**share):
            yield cluster
