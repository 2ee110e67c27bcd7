"""Reading torch checkpoints without executing anything in them, and without torch.

A `.pt` file is a zip archive with a pickle, and a pickle is a program. `open_checkpoint` reads the archive
(archive.py), interprets the pickle with a machine that knows no code (machine.py, allowlist.py,
constructors.py) and gives inert records (records.py); `read_tensor` reads tensors on demand (tensors.py).
Everything outside the allow-list is refused by name with `UntrustedFileError`, everything broken with
`DamagedFileError`; both are exit code 6. Other projects' files are called by their names (foreign.py).
"""

from edgeyolo.models.checkpoint.contents import Contents, read_contents
from edgeyolo.models.checkpoint.foreign import foreign_keys
from edgeyolo.models.checkpoint.limits import Limits
from edgeyolo.models.checkpoint.modules import state_dict, walk_modules
from edgeyolo.models.checkpoint.reader import Checkpoint, open_checkpoint, sniff
from edgeyolo.models.checkpoint.records import ObjectRecord, TensorRecord
from edgeyolo.models.checkpoint.tensors import read_tensor

__all__ = [
    "Checkpoint",
    "Contents",
    "Limits",
    "ObjectRecord",
    "TensorRecord",
    "foreign_keys",
    "open_checkpoint",
    "read_contents",
    "read_tensor",
    "sniff",
    "state_dict",
    "walk_modules",
]
