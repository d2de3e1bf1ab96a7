"""Where outputs are: a local folder, or an object store by its URL. Nothing else asks which of the two it is."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TypeAlias

SCHEME = "s3://"
Location: TypeAlias = Path | str  # a str is the URL of an object store


def parse_location(text: Path | str) -> Location:
    """Return the URL that was meant, even if pathlib has folded its slashes, or a path."""
    match = re.match(r"s3:/+(?=[^/])", str(text))
    return SCHEME + str(text)[match.end() :].rstrip("/") if match else Path(text)


def absolute_location(location: Location) -> str:
    """Return a location that means the same in every working folder."""
    return str(location.absolute()) if isinstance(location, Path) else location


def work_folder(url: str) -> Path:
    """Return the local folder in which the runs of a URL are made: private, the same for every run of it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ecomintent-batch" / hashlib.sha256(url.encode()).hexdigest()[:16]
