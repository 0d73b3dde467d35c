"""Uploads of exports to the Hugging Face Hub. Needs the extra ``hub``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from foundationx.core.errors import ConfigError, DataError

CARD = "README.md"


def push(export: Path, repository: str, *, public: bool, message: str, endpoint: str | None = None) -> str:
    """Uploads an export with its model card in one commit; gives the address of the commit.

    Who is uploading is left to huggingface_hub: ``hf auth login`` or ``HF_TOKEN``.

    Args:
        export: Folder or file that ``foundationx export`` wrote.
        repository: Name on the Hub, ``OWNER/NAME``.
        public: Whether a repository that is made is public.
        message: Message of the commit.
        endpoint: Address of the server; the Hub's if None.

    Raises:
        ConfigError: The extra is missing, or the server refuses.
        DataError: There is no export, or it has no model card.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        fix = "pip install -e '.[hub]' in the clone"
        raise ConfigError("push", "huggingface_hub cannot be imported", "the extra 'hub'", fix)
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    files = files_of(export)
    api = HfApi(endpoint=endpoint)
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()]
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        commit = api.create_commit(repository, operations, commit_message=message)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        found = " ".join(str(error).split())[:300]
        fix = "check the name, and log in: hf auth login"
        raise ConfigError(f"push to {repository}", found, "a repository that you may write to", fix) from error
    return str(commit.commit_url)


def files_of(export: Path) -> dict[str, Path]:
    """Name on the Hub -> file, with the model card.

    Raises:
        DataError: There is no export, or it has no model card.
    """
    if export.is_dir():
        files = {path.relative_to(export).as_posix(): path for path in sorted(export.rglob("*")) if path.is_file()}
        card = export / CARD
    elif export.is_file():
        card = export.with_name(f"{export.name}.{CARD}")
        files = {export.name: export, CARD: card}
    else:
        raise DataError(str(export), "is not there", "what `foundationx export` wrote", "check the path")
    if not card.is_file():
        fix = "export again with the extra 'hub' installed, without --no-card"
        raise DataError(str(export), "has no model card", str(card), fix)
    return files
