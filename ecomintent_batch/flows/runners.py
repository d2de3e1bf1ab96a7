"""Where the shards of a run are classified: in the flow's own process, in one process a core or GPU, or on a Ray cluster.

All three run the same task over the same paths. Arguments and results of a shard can be pickled, and no result depends on
where it was computed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import current_process
from pathlib import Path
from typing import Any, Literal

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from ecomintent_batch.errors import EcomIntentError, UsageError
from ecomintent_batch.inference.engines import count_cores, count_gpus
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.settings import RunSettings

Runner = Literal["inline", "process", "ray"]


@contextmanager
def open_runner(
    runner: Runner, settings: RunSettings, ray_address: str | None
) -> Iterator[TaskRunner[Any]]:
    """Yield the task runner that the shards are mapped over; its processes end with the context."""
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
        # Two: one shard is cleaned and tokenised while the previous one is scored; memory holds two.
        inline: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=2)
        with inline:
            yield inline


def keep_one_gpu(gpus: int) -> None:
    """Show this worker of a pool one of several GPUs, chosen by its number, so that no two workers share one."""
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
        changes["device"] = "cuda"  # Ray shows a task only its own GPU, as number 0
    return settings.model_copy(update=changes), RunFolder(folder.out.absolute(), folder.run_id)


def check_ray_answers(address: str | None, within_s: float = 25) -> None:
    """Join the Ray cluster in a process of its own first: `ray.init` waits for minutes where nobody answers.

    Raises:
        UsageError: Ray is not installed.
        EcomIntentError: no cluster answers at the address in time.
    """
    _import_ray()
    address = address or os.environ.get("RAY_ADDRESS")
    if not address:
        return  # one on this machine is joined, or started
    joined = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, configure_logging=False)"
    try:
        done = subprocess.run(  # noqa: S603 - this Python, and the address as an argument
            [sys.executable, "-c", joined, address],
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        reason = f"no answer within {within_s:g} s"
    else:
        if done.returncode == 0:
            return
        reason = (done.stderr.strip().splitlines() or ["an unknown error"])[-1]
    raise EcomIntentError(
        f"ray_address {address}: expected a Ray cluster, found: {reason}; start it (ray start --head), or name another"
    )


def _import_ray() -> None:
    try:
        import prefect_ray  # noqa: F401
        import ray  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError(
            "runner ray: expected prefect-ray, found none; pip install 'ecomintent-batch[ray]'"
        ) from None


@contextmanager
def _join_ray(settings: RunSettings, address: str | None) -> Iterator[TaskRunner[Any]]:
    _import_ray()
    import ray
    from prefect_ray import RayTaskRunner
    from prefect_ray.context import remote_options

    # The logs of the shards reach Prefect from where they run; Ray's copy on the flow's terminal would be a second one.
    cluster = RayTaskRunner(address=address, init_kwargs={"log_to_driver": False})
    with cluster:
        share: dict[str, Any] = {"num_cpus": settings.threads or 1}
        if ray.cluster_resources().get("GPU") and settings.device != "cpu":
            # Without max_calls Ray ends the process of a GPU task after it, and each shard would load the model.
            share |= {"num_gpus": 1, "max_calls": 0}
        with remote_options(**share):
            yield cluster
