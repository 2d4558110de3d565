"""A run that is killed, interrupted or damaged goes on to what the uninterrupted run gives, to the last bit."""

import fcntl
import random
import re
import shutil
import signal
import subprocess
from argparse import ArgumentTypeError
from functools import partial

import pytest
import torch

import train_cider
from tests.training_runs import (
    SMALL,
    differences,
    folder,
    kill_after_events,
    kill_in_save,
    limit_file_size,
    run,
    run_script_in_process,
    signal_after_lines,
    spoil_a_weight,
    trained,
)
from utils import checkpoint
from utils.cli.train import save_every
from utils.files import typed
from utils.training.resume import STATE_ENTRIES
from utils.training.settings import SaveEvery

EVERY_STEP = ("--save-every", "0.000001m")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """What an uninterrupted run leaves, and the folder it is in."""
    path = tmp_path_factory.mktemp("reference")
    outcome = run(path)
    assert outcome.status == 0
    return trained(path), path


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    path = tmp_path_factory.mktemp("killed")
    outcome = run(path, fault=partial(signal_after_lines, signal.SIGKILL, 5))
    assert outcome.status == -signal.SIGKILL
    return path


@pytest.fixture
def half_way(killed, tmp_path):
    """A copy of a run that was killed in its third epoch, with states of its first two."""
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    return tmp_path


def saved_position(path):
    """(epoch, batch) of the newest state in the run folder; None where there is none. It must be a complete file."""
    for name in ("last.pt", "previous.pt"):
        if (folder(path) / name).exists():
            state = checkpoint.load(folder(path) / name, checksum_required=True)
            return state["epoch"], state["batch"]
    return None


def assert_finishes_like(reference, path, *options):
    outcome = run(path, *options)
    assert outcome.status == 0 and "Finished" in outcome.out, outcome.err
    assert differences(trained(path), reference[0]) == []
    assert list(folder(path).glob(".*.tmp")) == []


@pytest.mark.parametrize("options", [(), EVERY_STEP], ids=["states at epochs", "states at steps"])
def test_kills_at_random_moments_leave_no_trace(reference, tmp_path, options):
    draw = random.Random(1)
    kills, runs = 0, 0
    while kills < 8:
        path = tmp_path / str(runs)
        fault = partial(kill_after_events, draw.randrange(1, 250_000))
        outcome = run(path, *options, fault=fault)
        assert "Traceback" not in outcome.err
        if outcome.status == -signal.SIGKILL:
            kills += 1
            saved_position(path)
        else:
            assert outcome.status == 0
            runs += 1
    assert_finishes_like(reference, path, *options)
    for finished in range(runs):
        assert differences(trained(tmp_path / str(finished)), reference[0]) == []


def test_kills_while_a_state_is_written_leave_no_trace(reference, tmp_path):
    stages = {
        (1, "within write"): None,
        (2, "before fsync"): (0, 1),
        (2, "before previous.pt"): (0, 2),
        (3, "between the renames"): (1, 0),  # the only one that finds its state in previous.pt
        (2, "after the renames"): (1, 2),
        (3, "within write"): (2, 0),
    }
    for (save, stage), position in stages.items():
        outcome = run(tmp_path, *EVERY_STEP, fault=partial(kill_in_save, save, stage))
        assert outcome.status == -signal.SIGKILL, outcome.err
        assert (folder(tmp_path) / "last.pt").exists() == (stage != "between the renames" and position is not None)
        assert saved_position(tmp_path) == position
    assert_finishes_like(reference, tmp_path, *EVERY_STEP)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_mid_epoch_saves_and_says_how_to_go_on(reference, tmp_path, number):
    outcome = run(tmp_path, "--resume", "none", fault=partial(signal_after_lines, number, 3))
    assert outcome.status == 128 + number
    assert "Traceback" not in outcome.err
    assert saved_position(tmp_path) == (1, 2)
    command = re.search(r"This goes on from here:\n  (.+)\n", outcome.out)[1]
    assert "--resume" not in command
    if number == signal.SIGTERM:  # once is enough for three seconds of imports
        command = f"export OMP_NUM_THREADS=1; {command}"  # more threads add up in another order
        finished = subprocess.run(["sh", "-c", command], cwd="/", capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        assert differences(trained(tmp_path), reference[0]) == []
    else:
        assert_finishes_like(reference, tmp_path)


def test_a_signal_at_the_end_of_an_epoch_is_not_lost(tmp_path):
    # With one batch an epoch there is no other moment.
    one_batch = ("--batch-size", "60", "--print-freq", "1")
    outcome = run(tmp_path, *one_batch, fault=partial(signal_after_lines, signal.SIGTERM, 2))
    assert outcome.status == 128 + signal.SIGTERM
    assert saved_position(tmp_path) == (2, 0)


def test_a_finished_run_says_so_and_is_left_alone(reference):
    path = folder(reference[1])
    before = {file: file.read_bytes() for file in path.iterdir() if file.is_file()}
    outcome = run(reference[1])
    assert outcome.status == 0
    assert f"{typed('eval_cider.py')} --ckpt {path / 'checkpoint_4.pth.tar'}" in outcome.out
    assert "epoch" not in outcome.out
    assert before == {file: file.read_bytes() for file in path.iterdir() if file.is_file()}


def test_a_finished_run_without_its_state_is_left_alone(reference, tmp_path):
    path = folder(tmp_path)
    shutil.copytree(folder(reference[1]), path)
    (path / "last.pt").unlink()
    (path / "previous.pt").unlink()
    before = {file: file.read_bytes() for file in path.iterdir() if file.is_file()}
    outcome = run(tmp_path)
    assert outcome.status == 0 and outcome.out.startswith("Finished: "), outcome.err
    refused = run(tmp_path, "--seed", "5")
    assert refused.status == 1 and "--seed: 4 in the saved state, 5 now" in refused.err
    assert before == {file: file.read_bytes() for file in path.iterdir() if file.is_file()}
    truncate(path / "checkpoint_4.pth.tar")
    refused = run(tmp_path)
    assert refused.status == 1 and "checkpoint_4.pth.tar is damaged" in refused.err and "--resume none" in refused.err
    assert run(tmp_path, "--resume", "none", "--seed", "5").status == 0
    assert (path / "checkpoint_4.pth.tar").read_bytes() != before[path / "checkpoint_4.pth.tar"]


def test_a_finished_run_needs_no_folder_that_can_be_written(reference, tmp_path):
    shutil.copytree(folder(reference[1]), folder(tmp_path))
    (folder(tmp_path) / ".lock").unlink()
    (folder(tmp_path) / ".lock").mkdir()  # what refuses to be written even for root
    outcome = run(tmp_path)
    assert outcome.status == 0 and outcome.out.startswith("Finished: "), outcome.err
    refused = run(tmp_path, "--resume", "none")
    assert refused.status == 1 and "can not be written" in refused.err


def test_a_finished_run_writes_a_lost_checkpoint_again(reference, tmp_path):
    shutil.copytree(folder(reference[1]), folder(tmp_path))
    (folder(tmp_path) / "checkpoint_4.pth.tar").unlink()
    assert_finishes_like(reference, tmp_path)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 16
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, lambda path: path.write_bytes(b"")])
def test_a_damaged_state_is_named_and_the_previous_one_used(reference, half_way, damage):
    last = folder(half_way) / "last.pt"
    damage(last)
    outcome = run(half_way)
    assert outcome.status == 0
    assert f"{last} is damaged" in outcome.err and "going on from" in outcome.err and "previous.pt" in outcome.err
    assert differences(trained(half_way), reference[0]) == []
    assert "resumed at epoch 2, batch 1\nepoch 2/4  batch 2/4" in outcome.out


def test_two_damaged_states_end_the_run(half_way):
    for name in ("last.pt", "previous.pt"):
        flip_a_bit(folder(half_way) / name)
    outcome = run(half_way)
    assert outcome.status == 1 and "Traceback" not in outcome.err
    assert "last.pt is damaged" in outcome.err and "previous.pt is damaged" in outcome.err
    assert "--resume none" in outcome.err


def test_other_arguments_are_listed(half_way):
    outcome = run(half_way, "--epochs", "5", "--learning_rate", "0.3", "--limit-train", "70", "--print-freq", "1")
    assert outcome.status == 1
    assert "--epochs: 4 in the saved state, 5 now" in outcome.err
    assert "--learning-rate: 0.03 in the saved state, 0.3 now" in outcome.err
    assert "--train-images: 60 in the saved state, 70 now" in outcome.err
    assert "print-freq" not in outcome.err and "batch" not in outcome.err
    assert saved_position(half_way) == (2, 0)


def test_longer_training_is_a_new_run_from_the_weights_of_the_finished_one(reference, tmp_path):
    finished = folder(reference[1])
    refused = run(reference[1], "--epochs", "6")
    assert refused.status == 1 and f"--init-from {finished / 'checkpoint_4.pth.tar'}" in refused.err
    more = ("--epochs", "6", "--init-from", str(finished / "checkpoint_4.pth.tar"))
    outcome = run(tmp_path, *more, "--learning_rate", "1e-9", "--warmup", "none", "--prototypes", "learnable")
    assert outcome.status == 0 and "starts from the weights of" in outcome.err, outcome.err
    old, new = (
        checkpoint.load_checkpoint(path).model
        for path in (finished / "checkpoint_4.pth.tar", folder(tmp_path) / "checkpoint_6.pth.tar")
    )
    for name, value in new.named_parameters():  # all but standing still, the classifier's among them
        torch.testing.assert_close(value, old.get_parameter(name), rtol=0, atol=1e-4)
    other_start = run(tmp_path, *more[:3], str(folder(tmp_path) / "checkpoint_6.pth.tar"))
    assert other_start.status == 1 and "--init-weights: " in other_start.err


def test_a_start_from_another_network_keeps_what_fits_and_refuses_another_encoder(reference, tmp_path):
    start = ("--init-from", str(folder(reference[1]) / "checkpoint_4.pth.tar"))
    outcome = run(tmp_path, *start, "--feat_dim", "5", "--epochs", "1", "--warmup", "none")
    assert outcome.status == 0 and "head did not fit and starts anew" in outcome.err, outcome.err
    refused = run(tmp_path, *start, "--width", "16", "--name", "other")
    assert refused.status == 1 and "has another encoder than this run: resnet18 of width 8, and" in refused.err
    assert "Traceback" not in refused.err


def test_the_state_of_another_method_is_refused_in_a_line_and_leaves_no_folder(reference, tmp_path):
    last = folder(reference[1]) / "last.pt"
    outcome = run(tmp_path, "--resume", str(last), "--loss", "supcon")
    said = f"{last} is the state of a run of the method cider, and this one is of supcon\n"
    assert outcome.status == 1 and outcome.err.endswith(said) and outcome.err.count("\n") == 1
    assert not folder(tmp_path).exists()


def test_a_name_that_no_folder_can_have_is_one_line(tmp_path):
    outcome = run(tmp_path, "--name", "ü" * 128)  # the names of runs from many settings are as long
    assert outcome.status == 1 and outcome.err.endswith("\n  do         : give it a --name\n"), outcome.err
    assert "too long for a folder: ü" in outcome.err and "Traceback" not in outcome.err


def test_a_run_opens_with_what_is_trained(tmp_path):
    outcome = run(tmp_path, "--epochs", "1", "--warmup", "none")
    said = "Training CIDER on digits: 60 images of 6 classes, resnet18 (width 8), 1 epochs of 4 batches, cpu, seed 4\n"
    assert outcome.out.startswith(said)


def test_a_switch_that_an_older_version_did_not_have_was_off(reference, half_way):
    last = folder(half_way) / "last.pt"
    state = checkpoint.load(last)
    assert state["args"].pop("no_dispersion") is False
    checkpoint.save(state, last)
    outcome = run(half_way, "--no-dispersion")
    assert outcome.status == 1 and "--no-dispersion: None in the saved state, True now" in outcome.err
    assert_finishes_like(reference, half_way)


def test_a_missing_or_foreign_file_to_resume_is_an_error(reference, tmp_path):
    missing = run(tmp_path, "--resume", str(tmp_path / "nowhere.pt"))
    assert missing.status == 1 and f"looked for : {tmp_path / 'nowhere.pt'}" in missing.err
    exported = run(tmp_path, "--resume", str(folder(reference[1]) / "checkpoint_4.pth.tar"))
    assert exported.status == 1 and "--resume takes the last.pt of a run folder" in exported.err
    assert not (folder(tmp_path) / "log.jsonl").exists()


def test_a_state_can_be_taken_over_into_another_folder(reference, half_way):
    other = half_way / "other"
    assert_finishes_like(reference, other, "--resume", str(folder(half_way) / "last.pt"))


def test_resume_none_begins_anew(reference, half_way):
    outcome = run(half_way, "--resume", "none", fault=partial(signal_after_lines, signal.SIGKILL, 1))
    assert "seed 4\nepoch 1/4  batch 2/4" in outcome.out
    # A state of the run that was given up must not come back.
    assert saved_position(half_way) is None
    assert_finishes_like(reference, half_way)


def test_two_processes_do_not_train_in_one_folder(half_way):
    with open(folder(half_way) / ".lock", "a") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX)
        outcome = run(half_way)
    assert outcome.status == 1 and "another process trains in it" in outcome.err


def test_a_full_disk_leaves_the_old_state(reference, half_way):
    last = folder(half_way) / "last.pt"
    before = last.read_bytes()
    for size in (len(before) // 2, 1500):  # too little for the state; for the log
        outcome = run(half_way, fault=partial(limit_file_size, size))
        assert outcome.status == 1
        message = [line for line in outcome.err.splitlines() if not line.startswith("warning: ")]
        assert len(message) == 1 and "File too large" in message[0]
        assert last.read_bytes() == before
    assert_finishes_like(reference, half_way)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    outcome = run(tmp_path, "--learning_rate", "1e30", "--no-cosine")
    assert outcome.status == 1 and "Traceback" not in outcome.err
    assert "the loss is not finite at epoch 1, batch 3 (step 3), lr 5e+29: loss nan, loss/dis" in outcome.err
    assert "before     : loss 14." in outcome.err
    assert "nothing was saved yet" in outcome.err and "smaller --learning_rate" in outcome.err


@pytest.mark.parametrize("rate", ["1e30", "1e12"], ids=["weights, too", "features alone"])
def test_features_that_are_not_finite_end_the_run(tmp_path, rate):
    one_batch = ("--batch-size", "60", "--eval-freq", "1", "--warmup", "none", "--loss", "ce")
    outcome = run(tmp_path, *one_batch, "--learning_rate", rate)
    assert outcome.status == 1, outcome.err
    assert f"the features are not finite after epoch 1, batch 1 (step 1), lr {float(rate):.3g}: " in outcome.err
    assert "nothing was saved yet" in outcome.err and "smaller --learning_rate" in outcome.err


def test_weights_that_are_not_finite_do_not_replace_a_good_state(half_way):
    last = folder(half_way) / "last.pt"
    before = last.read_bytes()
    outcome = run(half_way, *EVERY_STEP, fault=spoil_a_weight)
    assert outcome.status == 1
    assert "model.head.0.bias is not finite after epoch 3, batch 1 (step 9), lr" in outcome.err
    assert f"kept       : {last}, the last good state" in outcome.err
    assert last.read_bytes() == before


def test_the_state_says_what_resume_needs_and_no_more(half_way):
    state = checkpoint.load(folder(half_way) / "last.pt", checksum_required=True)
    assert state.keys() == STATE_ENTRIES


@pytest.mark.parametrize("text, policy", [("2", SaveEvery(epochs=2)), ("0.5m", SaveEvery(minutes=0.5))])
def test_save_every(text, policy):
    assert save_every(text) == policy


@pytest.mark.parametrize("text", ["0", "-1", "0m", "-2m", "nanm", "m", "1.5", "often", ""])
def test_save_every_refuses(text):
    with pytest.raises(ArgumentTypeError, match=f"{text} is neither minutes .5m. nor a number of epochs"):
        save_every(text)


def test_palm_goes_on_where_it_was_killed(tmp_path):
    started = [text for text in SMALL if text not in ("--prototype-init", "class-means")]
    palm = ("--loss", "palm", "--cache-size", "3", "--nearest", "2")
    train = partial(run_script_in_process, train_cider.main, small=started, options=palm)
    assert train(tmp_path / "whole").status == 0
    killed = tmp_path / "killed"
    assert train(killed, fault=partial(signal_after_lines, signal.SIGKILL, 5)).status == -signal.SIGKILL
    assert "Finished" in train(killed).out
    assert differences(trained(killed), trained(tmp_path / "whole")) == []
    saved = checkpoint.load(folder(killed) / "last.pt", checksum_required=True)
    assert saved["modules"]["prototypes"]["prototypes"].shape == (18, 8)
