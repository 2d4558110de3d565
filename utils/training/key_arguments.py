"""Which arguments of a run make it what it is; no PyTorch is needed to know."""

import json
from collections.abc import Mapping
from typing import Any

# Arguments that may differ between the two halves of a run: where it runs, what it shows, how often it saves.
FREE_ARGUMENTS = frozenset(
    "device gpu workers amp channels_last compile deterministic sync_bn id_loc ood_loc download stage "
    "print_freq save_every save_epoch eval_freq resume checkpoints name command init_from".split()
)


def key_arguments(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that make a run what it is, as they look after a round through JSON."""
    return json.loads(json.dumps({key: value for key, value in args.items() if key not in FREE_ARGUMENTS}, default=str))
