"""For the site: a link that leaves docs/ leads to the file in the repository, or is plain text."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)]+)\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrites links to files outside of docs/; `repo_url` is where the repository is seen."""
    repository = (config.repo_url or "").rstrip("/")
    return _OUTSIDE.sub(rf"[\1]({repository}/blob/main/\2)" if repository else r"\1", markdown)
