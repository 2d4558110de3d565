"""README.md and results/: the tables are what the CSV files make, and the command that makes them."""

import re
import statistics

import pytest

from tests.commands import REPOSITORY, python
from tests.result_rows import row, run
from utils.errors import UserError
from utils.results import published, readme, rows

TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PUBLISHED = published.groups(published.read())


def test_the_tables_of_the_readme_are_those_that_the_files_make():
    assert len(re.findall("<!-- results: ", TEXT)) >= 8
    assert readme.fill(TEXT, rows.read(), PUBLISHED) == TEXT, "python scripts/collect_results.py --readme mends it"


def test_a_number_of_the_readme_by_an_explicit_loop():
    values = [
        float(each["auroc"])
        for each in rows.read()
        if "digits-demo" in each["experiment"].split() and each["ood"] == "digits-6-9"
    ]
    assert len(values) >= 3
    line = next(line for line in TEXT.split("<!-- results: digits-demo -->")[1].splitlines() if "digits-6-9" in line)
    assert f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}" in line


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
    assert "| CIDER (KNN, K=100) | 1 |" in found and "published: paper" in found and "MSP §" in found
    assert "| CIDER (KNN" not in readme.block("cifar100", run(97, experiment="paper"), PUBLISHED)


def test_collecting_prints_the_tables_and_leaves_the_readme_as_it_is():
    done = python("scripts/collect_results.py", "--readme", "--id", "CIFAR-100", "--format", "latex")
    assert done.returncode == 0, done.stderr
    assert r"\toprule" in done.stdout and "KNN+" in done.stdout and "README.md: unchanged" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("nowhere",), 1, "looked for : nowhere"),
        (("--id", "CIFAR"), 1, "nothing on CIFAR"),
        (("--csv", "other.csv", "--readme"), 2, "--readme does not go with"),
        (("README.md",), 1, "README.md is not a metrics.json"),
    ],
)
def test_what_is_wrong_is_said(arguments, status, said, tmp_path):
    done = python("scripts/collect_results.py", *arguments)
    assert done.returncode == status
    assert said in done.stderr and "Traceback" not in done.stderr
