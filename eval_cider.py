"""Evaluate a CIDER or VOS checkpoint, of this repository or of the official code: scores, metrics, tables, plots.

    python eval_cider.py --in-dataset digits --name demo                     the last checkpoint of a run
    python eval_cider.py --in-dataset CIFAR-10 --name ckpt_c10 --epoch 500   checkpoints/CIFAR-10/ckpt_c10/
    python eval_cider.py --ckpt checkpoint_500.pth.tar --in-dataset CIFAR-10 --ood-sets SVHN dtd mine=photos/

Larger scores = more in-distribution, and ID is the positive class. CIDER is scored by minus the squared distance to the
K-th nearest ID training image, on L2-normalised penultimate features; VOS by minus the energy of its logits.
"""

import argparse
import re
import sys
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from utils import options
from utils.data.id_sets import IDData, load_id
from utils.data.images import ImageSet
from utils.data.ood_sets import MissingSet, default_ood_sets, load_ood
from utils.detector import CLASSIFIERS, usual_score
from utils.errors import UserError, run_script
from utils.evaluation import report, tables
from utils.evaluation.evaluation import Evaluation, evaluate_knn, evaluate_logits
from utils.evaluation.features import Features, extract
from utils.evaluation.logit_scores import LOGIT_SCORES, LogitScore, logit_score
from utils.evaluation.projection import PROJECTIONS
from utils.evaluation.tables import Missing, Row, Table
from utils.files import REPOSITORY
from utils.fit_reference import keep_reference
from utils.training.checkpoint import Checkpoint, load_checkpoint
from utils.training.run_folder import environment

# Neighbours for the KNN score: the paper's on its sets, 0.2 to 0.6 % of the training images; so digits has 5.
DEFAULT_K = {"digits": 5, "CIFAR-10": 100, "CIFAR-100": 300, "ImageNet-100": 300, "folder": 10}
METHOD_NAMES = {"cider": "CIDER", "supcon": "SupCon", "ce": "Cross-entropy", "vos": "VOS"}
ARCH_NAMES = {"resnet": "ResNet-", "wrn": "WRN", "densenet-bc": "DenseNet-BC"}


def parse_arguments() -> tuple[argparse.Namespace, torch.device]:
    """The command line, checked as far as that needs no file."""
    parser = options.OptionParser(description=__doc__)
    which = parser.add_argument_group("checkpoint: --name or --ckpt")
    which.add_argument("--name", help="folder of a run, in checkpoints/<ID set>/")
    which.add_argument("--epoch", type=int, metavar="E", help="epoch of that run (default: the last that is there)")
    which.add_argument("--ckpt", type=Path, metavar="FILE", help="a checkpoint file, wherever it is")
    which.add_argument("--checkpoints", type=Path, default=REPOSITORY / "checkpoints", metavar="DIR",
                       help="folder of all runs (default: checkpoints/)")
    options.add_id_options(parser, default=None)
    ood = parser.add_argument_group("out-of-distribution data")
    ood.add_argument("--ood_loc", type=Path, metavar="PATH",
                     help="folder that holds the OOD sets (default: its place below datasets/)")
    ood.add_argument("--ood-sets", nargs="+", metavar="SET",
                     help="names, or NAME=PATH for a folder of images (default: the sets of the paper's table)")
    score = parser.add_argument_group("score")
    score.add_argument("--score", choices=("knn", *LOGIT_SCORES),
                       help="how images are scored. sigmoid-energy and logistic use what VOS trains beside the "
                            "classifier (default: energy for the networks of train_vos.py, as in its paper; else knn)")
    score.add_argument("--K", type=options.positive_int,
                       help="neighbour whose distance counts. The paper uses 100 on CIFAR-10, 300 on CIFAR-100 and "
                            "ImageNet-100; digits has 5 and folder 10 here")
    score.add_argument("--seed", type=int, default=0,
                       help="for generated OOD sets, for subsets of large ones, and for plots (default: 0)")
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, metavar="DIR", help="default: eval_<epoch>/ beside the checkpoint")
    output.add_argument("--no-plots", action="store_true", help="numbers only")
    output.add_argument("--projection", choices=(*PROJECTIONS, "none"), default="pca",
                        help="plot of features in the plane; tsne takes a minute or more (default: pca)")
    output.add_argument("--cache-dir", type=Path, metavar="DIR",
                        help="where extracted features are kept (default: features/ beside the checkpoint)")
    output.add_argument("--no-cache", action="store_true", help="extract features anew and do not keep them")
    options.add_device_options(parser)
    parser.add_argument("-b", "--batch-size", type=options.positive_int, default=512, metavar="N",
                        help="images per forward pass (default: 512)")
    _refuse_official(parser)
    args = parser.parse_args()
    if (args.ckpt is None) == (args.name is None):
        parser.error("give the checkpoint by --name (and --epoch), or by --ckpt FILE")
    if args.ckpt is not None and args.epoch is not None:
        parser.error("--epoch chooses among the checkpoints of a --name; --ckpt is one file")
    return args, options.choose_device(parser, args)


def _refuse_official(parser: options.OptionParser) -> None:
    for flag in ("--model", "--head", "--feat_dim", "--embedding_dim", "--loss"):
        parser.refuse(flag, "the checkpoint file says it")
    parser.refuse("--subset", "sets of more than 10,000 images are always cut to a fixed subset of that size")
    parser.refuse("--multiplier", "the scores are not rescaled")
    parser.refuse("--out_as_pos", "ID is the positive class in every table here")
    parser.refuse("--T", "the KNN score has no temperature")


def find_checkpoint(args: argparse.Namespace) -> Path:
    """The file that --ckpt names, or that of --name and --epoch.

    Raises:
        UserError: nothing is there, or several ID sets have a run of that name.
    """
    if args.ckpt is not None:
        return args.ckpt
    folders = [args.checkpoints / args.in_dataset / args.name] if args.in_dataset else [
        place / args.name for place in sorted(args.checkpoints.glob("*")) if (place / args.name).is_dir()
    ]
    if len(folders) > 1:
        raise UserError(f"several runs are called {args.name}: {', '.join(map(str, folders))}\n"
                        "  do         : say which with --in-dataset or --ckpt")
    folder = folders[0] if folders else args.checkpoints / "*" / args.name
    found = {}
    for path in folder.glob("checkpoint_*.pth.tar"):
        if match := re.fullmatch(r"checkpoint_(\d+)\.pth\.tar", path.name):
            found[int(match[1])] = path
    epoch = max(found, default=None) if args.epoch is None else args.epoch
    if epoch not in found:
        there = ", ".join(map(str, sorted(found))) or "none"
        raise UserError(f"checkpoint not found.\n"
                        f"  looked for : {folder}/checkpoint_{'<epoch>' if epoch is None else epoch}.pth.tar\n"
                        f"  there are  : epochs {there}\n"
                        "  get it by  : training with train_cider.py, or pass --ckpt FILE")
    return found[epoch]


def load_id_data(args: argparse.Namespace, checkpoint: Checkpoint) -> IDData:
    """The ID set that the checkpoint was trained on, the same images; the command line overrides what its file says.

    Raises:
        UserError: nobody says which set it is, or it has another number of classes than the checkpoint.
    """
    trained_on = checkpoint.args.get("in_dataset")
    name = args.in_dataset or trained_on
    if name is None:
        raise UserError(f"{checkpoint.path} does not say what it was trained on\n"
                        "  do         : pass --in-dataset, for example --in-dataset CIFAR-10")
    # Which part of a set was trained on is known for that set only.
    said = checkpoint.args if name == trained_on else {}
    root = args.id_loc
    if root is None and said.get("id_loc") and Path(said["id_loc"]).exists():
        root = Path(said["id_loc"])
    data = load_id(name, root, download=args.download, image_size=args.image_size or said.get("image_size"),
                   limit_train=said.get("limit_train"), seed=said.get("seed", 0))
    classes = checkpoint.model.config["num_classes"]
    if classes != len(data.class_names):
        raise UserError(f"{checkpoint.path} was trained on {classes} classes, but {name} has {len(data.class_names)}")
    return data


@dataclass(frozen=True)
class OODSets:
    """images: name as shown -> set.    in_table: the names among them that the official mean is over.

    missing: the sets that are not on disk.
    """

    images: dict[str, ImageSet]
    in_table: frozenset[str]
    missing: tuple[Missing, ...]


def load_ood_sets(args: argparse.Namespace, data: IDData) -> OODSets:
    """Load the OOD sets that are there.

    Raises:
        UserError: none is there, or two have one name.
    """
    official = {name.casefold() for name in default_ood_sets(data.name)}
    found: dict[str, ImageSet] = {}
    in_table, missing = set(), []
    for wanted in args.ood_sets or default_ood_sets(data.name):
        try:
            images = load_ood(wanted, data, args.ood_loc, seed=args.seed)
        except MissingSet as error:
            missing.append(Missing(wanted, str(error)))
            continue
        if images.name in found:
            raise UserError(f"two OOD sets are called {images.name}; give one another name by NAME=PATH")
        found[images.name] = images
        if images.official_complete and images.name.casefold() in official:
            in_table.add(images.name)
    if not found:
        raise UserError("no OOD set was found.\n" + "\n".join(each.reason for each in missing))
    return OODSets(found, frozenset(in_table), tuple(missing))


def extract_all(
    args: argparse.Namespace, device: torch.device, checkpoint: Checkpoint, data: IDData, ood: OODSets
) -> tuple[Features, Features, dict[str, Features]]:
    """Features of ID train, ID test and every OOD set: one forward pass for each set, or none where they are cached."""
    model = checkpoint.model.to(device)
    if args.channels_last:
        model.to(memory_format=torch.channels_last)
    features_of = partial(
        extract,
        model,
        mean=data.mean,
        std=data.std,
        device=device,
        batch_size=args.batch_size,
        amp=args.amp,
        channels_last=args.channels_last,
        workers=args.workers,
        cache_dir=None if args.no_cache else args.cache_dir or checkpoint.path.parent / "features",
        checkpoint_sha=checkpoint.sha256,
    )
    others = {name: features_of(images) for name, images in ood.images.items()}
    return features_of(data.train), features_of(data.test), others


def chosen_score(args: argparse.Namespace, checkpoint: Checkpoint) -> LogitScore | None:
    """The score on logits that was asked for or is usual for the network; None for KNN.

    Raises:
        UserError: the checkpoint can not give it.
    """
    name = args.score or usual_score(checkpoint)
    trained = checkpoint.method in CLASSIFIERS
    return None if name == "knn" else logit_score(name, checkpoint.model, classifier_is_trained=trained)


def evaluate(args: argparse.Namespace, device: torch.device, checkpoint: Checkpoint, data: IDData, ood: OODSets,
             score: LogitScore | None) -> Evaluation:
    """Features of every set, and what the score makes of them; leaves beside the checkpoint what detect.py needs."""
    features = extract_all(args, device, checkpoint, data, ood)
    common = dict(k=args.K or DEFAULT_K[data.name], num_classes=len(data.class_names), device=device)
    if score is not None:
        evaluation = evaluate_logits(*features, score=score, **common)
    else:
        evaluation = evaluate_knn(*features, prototypes=checkpoint.prototypes,
                                  fc_is_trained=checkpoint.method in CLASSIFIERS, **common)
    keep_reference(checkpoint, data, *features[:2], score=args.score or usual_score(checkpoint), k=common["k"],
                   device=device)
    return evaluation


def make_table(checkpoint: Checkpoint, data: IDData, ood: OODSets, evaluation: Evaluation,
               score: LogitScore | None) -> Table:
    """The result as it is printed and written."""
    config = checkpoint.model.config
    arch = config["arch"]
    for name, shown in ARCH_NAMES.items():
        arch = arch.replace(name, shown)
    rows = [
        Row(name, len(ood.images[name]), metrics, name in ood.in_table)
        for name, metrics in evaluation.ood_metrics.items()
    ]
    return Table(
        method=METHOD_NAMES[checkpoint.method],
        arch=arch if config["width"] == 64 else f"{arch} (width {config['width']})",
        id_set=data.name,
        score=evaluation.score,
        epoch=checkpoint.epoch,
        rows=rows,
        missing=ood.missing,
        notes=(accuracy_line(evaluation.id_accuracy), geometry_line(evaluation.geometry),
               *threshold_lines(evaluation, score)),
    )


def accuracy_line(found: dict[str, float | None]) -> str:
    """ID accuracy in words."""
    names = {"knn": "KNN", "nearest_prototype": "nearest prototype", "fc": "fc"}
    shares = (
        f"{names[way]} {'not known (no prototypes in the checkpoint)' if share is None else f'{100 * share:.2f} %'}"
        for way, share in found.items()
    )
    return f"ID accuracy: {', '.join(shares)}"


def geometry_line(degrees: dict[str, float]) -> str:
    """Embedding geometry in words; figures of the head's space carry its name."""
    return "embedding: " + ", ".join(f"{name} {angle:.1f}°" for name, angle in degrees.items())


def threshold_lines(evaluation: Evaluation, score: LogitScore | None) -> list[str]:
    """The threshold of a score whose sigmoid is shown, in both forms."""
    if score is None or not score.probability:
        return []
    shown = float(score.display(torch.tensor(evaluation.threshold)))
    return [f"threshold for 95 % ID recall: {shown:.6g}, the sigmoid of {evaluation.threshold:.4g} that is ranked"]


def about(args: argparse.Namespace, checkpoint: Checkpoint, data: IDData) -> dict[str, Any]:
    """What metrics.json states beside the metrics: enough to do the same again."""
    return {
        "checkpoint": {
            "path": str(checkpoint.path),
            "sha256": checkpoint.sha256,
            "method": checkpoint.method,
            "epoch": checkpoint.epoch,
            "model": checkpoint.model.config,
            "trained_with": checkpoint.args,
        },
        "class_names": list(data.class_names),
        "id_train_images": len(data.train),
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()},
        "environment": environment(),
    }


def main() -> None:
    """Find, load, extract, score, print and write."""
    args, device = parse_arguments()
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    checkpoint = load_checkpoint(find_checkpoint(args))
    score = chosen_score(args, checkpoint)
    data = load_id_data(args, checkpoint)
    ood = load_ood_sets(args, data)
    for note in (*data.notes, *(f"{name}: {note}" for name, images in ood.images.items() for note in images.notes)):
        print(f"note: {note}", file=sys.stderr)
    out = args.out or checkpoint.path.parent / f"eval_{checkpoint.epoch}"
    evaluation = evaluate(args, device, checkpoint, data, ood, score)
    table = make_table(checkpoint, data, ood, evaluation, score)
    print(tables.to_text(table))
    try:
        written = report.write_numbers(out, table, evaluation, about(args, checkpoint, data))
        if not args.no_plots:
            written += report.draw(out, evaluation, class_names=data.class_names, prototypes=checkpoint.prototypes,
                                   projection=args.projection, seed=args.seed)
    except OSError as error:
        raise UserError(f"the results could not be written: {error}\n  do         : pass --out DIR") from error
    print(f"Written to {out}: {' '.join(path.name for path in written)}")


if __name__ == "__main__":
    run_script(main)
