"""How a run trains, apart from its method: optimisation, speed, what it shows and how often it saves."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class SaveEvery:
    """How often the state of the training is saved: after so many epochs, or so many minutes."""

    epochs: int | None = None
    minutes: float | None = None

    def due(self, epoch: int, batch: int, seconds: float) -> bool:
        """Whether it is time to save before a batch of an epoch, both counted from 0, `seconds` after the last time."""
        if self.epochs:
            return batch == 0 and epoch % self.epochs == 0
        return seconds >= 60 * self.minutes


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Plain values under the names of the options that give them.

    Attributes:
        batch_size: images over all processes.
        cosine, lr_decay_epochs, lr_decay_rate, warmup, warmup_epochs: see utils.training.schedule.
        amp: precision of the network, "off", "bf16" or "fp16".
        print_freq: steps between log lines; there is one at the end of each epoch as well.
        save_every: how often last.pt is written, see SaveEvery.    save_epoch: epochs between checkpoints.
        eval_freq: epochs between two looks at ID accuracy by KNN and noise; 0 for none.
        resume: "auto", "none" or the path of a state.
    """

    seed: int
    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 1e-4
    cosine: bool = False
    lr_decay_epochs: tuple[int, ...] = ()
    lr_decay_rate: float = 0.1
    warmup: str = "none"
    warmup_epochs: int = 0
    amp: str = "off"
    channels_last: bool = False
    compile: bool = False
    sync_bn: bool = False
    workers: int = 0
    print_freq: int = 100
    save_every: SaveEvery = SaveEvery(minutes=5)
    save_epoch: int = 100
    eval_freq: int = 0
    resume: str = "auto"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "RunSettings":
        """Those among the options of a script."""
        return cls(**{field.name: options[field.name] for field in fields(cls)})

    @property
    def schedule(self) -> dict[str, Any]:
        """What `learning_rate` takes of them."""
        return {
            "base_lr": self.learning_rate,
            "epochs": self.epochs,
            "cosine": self.cosine,
            "decay_epochs": self.lr_decay_epochs,
            "decay_rate": self.lr_decay_rate,
            "warmup": self.warmup,
            "warmup_epochs": self.warmup_epochs,
        }
