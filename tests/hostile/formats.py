"""Every format that is read, by name."""

from tests.hostile import (
    formats_of_caches,
    formats_of_models,
    formats_of_runs,
    formats_of_text,
    formats_of_tokenizers,
)

_GROUPS = (formats_of_text, formats_of_caches, formats_of_models, formats_of_tokenizers, formats_of_runs)
FORMATS = {one.name: one for group in _GROUPS for one in group.formats()}
