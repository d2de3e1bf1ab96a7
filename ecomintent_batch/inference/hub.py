"""The Hugging Face hub: asked only where it answers within two seconds, else what was downloaded before."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

_PATIENCE_S = 1.8


def fetch_from_hub(hub_id: str, patterns: Sequence[str], repo_type: str | None = None) -> Path:
    """Download some files of a repository once into the hub's cache, and return their folder.

    Raises:
        Exception: As the hub's client raises it; without a network, that nothing is in the cache.
    """
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            hub_id,
            repo_type=repo_type,
            allow_patterns=list(patterns),
            local_files_only=not is_hub_reachable(),
        )
    )


def is_hub_reachable() -> bool:
    """Return whether the hub answers; its own client would try again for half a minute."""
    answered: list[bool] = []

    def ask() -> None:
        from huggingface_hub import constants, get_session

        try:
            get_session().head(constants.ENDPOINT, timeout=_PATIENCE_S)
            answered.append(True)
        except (
            Exception
        ):  # the client raises its own, the HTTP client's and OS errors: none means an answer
            answered.append(False)

    # Looking up a name may take longer than any timeout of the client's.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE_S)
    return answered == [True]
