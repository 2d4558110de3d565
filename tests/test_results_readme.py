"""README.md, docs/ and results/: the tables are what the CSV files make, and the command that makes them."""

import re
import statistics

import pytest

from tests.commands import REPOSITORY, here
from tests.result_rows import openood_run, row, run
from utils.errors import UserError
from utils.results import published, readme, rows
from utils.results.differences import DIFFERENCES, Difference

TEXTS = {path.relative_to(REPOSITORY).as_posix(): path.read_text("utf-8") for path in readme.PAGES}
PUBLISHED = published.lines()


@pytest.mark.parametrize(
    ("page", "blocks"),
    [
        *(("README.md", 2), ("docs/results.md", 5), ("docs/methods.md", 2), ("results/README.md", 7)),
        ("checkpoints/CIFAR-10/cider_resnet18_e100_s4/card.md", 1),
    ],
)
def test_the_tables_of_all_pages_are_those_that_the_files_make(page, blocks):
    assert len(re.findall("<!-- results: ", TEXTS[page])) >= blocks
    made = readme.fill(TEXTS[page], rows.read(), PUBLISHED, rows.read(DIFFERENCES, Difference))
    assert made == TEXTS[page], "python scripts/collect_results.py --readme mends it"


def test_every_experiment_of_the_file_is_shown_on_a_page():
    shown = set(re.findall(r"<!-- results: (\S+) -->", "".join(TEXTS.values())))
    tags = {tag for name in shown for tag in readme.BLOCKS.get(name, ((name,),))[0]}
    assert {tag for each in rows.read() for tag in each.experiment.split()} <= tags


def test_a_number_of_a_page_by_an_explicit_loop():
    values = [
        float(each.auroc)
        for each in rows.read()
        if "digits-demo" in each.experiment.split() and each.ood == "digits-6-9"
    ]
    assert len(values) >= 3
    block = TEXTS["docs/results.md"].split("<!-- results: digits-demo -->")[1].split("<!-- end -->")[0]
    assert f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}" in block


def test_the_headline_fills_itself_from_the_rows_of_both_benchmarks():
    before = readme.fill("<!-- results: cifar10-openood -->\n<!-- end -->\n", [], PUBLISHED)
    assert "CIDER (KNN) ✓" in before and "T2FNorm" in before and "ID accuracy" not in before
    ours = [
        *openood_run(90, experiment=readme.E_100, id_accuracy_knn=93),
        *run(96, experiment=readme.E_100, epochs=100, trained_with="temp=0.1 w=2.0"),
    ]
    found = readme.fill("<!-- results: cifar10-openood -->\n<!-- end -->\n", ours, PUBLISHED)
    line, board, *rest = [line for line in found.splitlines() if line.startswith("| ")][1:]
    assert line.startswith("| CIDER (KNN, K=100) | 1 | 90.00 | 91.00 | 92.00 | 93.00 | 94.00 | 95.00 | 90.50 | 93.50 |")
    assert line.endswith("| 93.00 |") and "published: OpenOOD 1.5 leaderboard" in board
    assert "89.47 § (+0.53)" in board and "94.71 ± 0.36 (-1.21)" in board
    assert [text.split(" | ")[0] for text in rest[:2]] == ["| Cross-entropy (KNN)", "| NPOS"] and len(rest) == 7
    beside_paper = readme.block("cifar10", ours, PUBLISHED)
    assert "| CIDER (KNN, K=100, 100 epochs) # | 1 |" in beside_paper and "91.00" not in beside_paper
    assert len(readme.block("cifar10-e100", ours, PUBLISHED).split("in %")) == 3  # a table for each benchmark


def test_a_changed_row_changes_its_block_alone():
    text = "a\n<!-- results: mine -->\nold\n<!-- end -->\nb\n<!-- results: other -->\n<!-- end -->\nc\n"
    found = readme.fill(text, [row(experiment="mine"), row(experiment="other more", auroc=12.5)], [])
    first, second = found.split("\nb\n")
    assert "10.00 / 90.00" in first and "old" not in first and "12.50" not in first
    assert "10.00 / 12.50" in second and second.endswith("<!-- end -->\nc\n") and first.startswith("a\n")
    assert readme.fill(found, [row(experiment="mine"), row(experiment="other more", auroc=12.5)], []) == found


def test_a_block_without_rows_or_without_an_end_is_an_error():
    with pytest.raises(UserError, match="no row of results/measured.csv"):
        readme.fill("<!-- results: misspelled -->\n<!-- end -->\n", [row(experiment="mine")], [])
    with pytest.raises(UserError, match="no <!-- end -->"):
        readme.fill("<!-- results: mine -->\n", [row(experiment="mine")], [])


def test_full_runs_stand_beside_the_published_numbers():
    found = readme.block("cifar10", run(97, experiment="paper"), PUBLISHED)
    assert "| CIDER (KNN, K=100, 500 epochs) | 1 |" in found and "published: paper" in found and "MSP §" in found
    assert "| CIDER (KNN" not in readme.block("cifar100", run(97, experiment="paper"), PUBLISHED)


def test_collecting_prints_the_tables_and_leaves_the_pages_as_they_are():
    done = here("scripts/collect_results.py", "--readme", "--id", "CIFAR-100", "--format", "latex")
    assert done.returncode == 0, done.stderr
    assert r"\toprule" in done.stdout and "KNN+" in done.stdout and "results/README.md: unchanged" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("nowhere",), 1, "looked for : nowhere"),
        (("--id", "CIFAR"), 1, "nothing on CIFAR"),
        (("--experiment", "demos"), 1, "no rows of an experiment demos in"),
        (("--csv", "nowhere.csv"), 1, "no rows in nowhere.csv"),
        (("--csv", "other.csv", "--readme"), 2, "--readme does not go with"),
        (("README.md",), 1, "README.md is not a metrics.json"),
    ],
)
def test_what_is_wrong_is_said(arguments, status, said, tmp_path):
    done = here("scripts/collect_results.py", *arguments)
    assert done.returncode == status
    assert said in done.stderr
