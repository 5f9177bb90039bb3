"""`otgan report` as users type it."""

import csv
import io
import json
import resource
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest

from tests.support.commands import SMALL, TINY, otgan, otgan_alone, run_folders
from tests.support.reports import end, line, picture, run_folder, score, sweep_folder

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_a_run_has_a_page(tmp_path):
    assert otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--lam", "0.5").exit_code == 0
    (folder,) = run_folders()
    done = otgan("report", folder)
    assert done.exit_code == 0, done.output
    assert "report.html" in done.output
    page = Path("report.html").read_text()
    for words in (
        "sinkhorn-grid",
        "All of its solved duals reached epsilon",
        "data:image/png;base64,",
        "● 0.5",
        "run-0/gradient_norm",
    ):
        assert words in page
    assert "What could not be read" not in page


def test_json_and_csv_give_the_numbers_and_no_page():
    folders = [
        run_folder(Path(f"r{i}"), overrides={"train.seed": i}, scores=[score(i + 1.5)]).path
        for i in range(2)
    ]
    told = json.loads(otgan("report", *folders, "--json").output)
    assert [run["numbers"]["fid[x]"] for run in told["runs"]] == [1.5, 2.5]
    assert [run["folder"] for run in told["runs"]] == ["r0", "r1"]
    rows = list(csv.DictReader(io.StringIO(otgan("report", *folders, "--csv").output)))
    assert [(row["folder"], row["state"], row["w2"], row["fid[x]"]) for row in rows] == [
        ("r0", "finished", "0.5", "1.5"),
        ("r1", "finished", "0.5", "2.5"),
    ]
    assert not list(Path().glob("*.html"))
    assert otgan("report", *folders, "--json", "-o", "both.html").exit_code == 0
    assert "2 runs of sinkhorn-grid" in Path("both.html").read_text()


def test_a_sweep_has_a_page():
    for folder in sweep_folder(
        Path("s"), {"oracle.lam": [0.1, 1.0], "oracle.epsilon": ["0.3x"]}, [0, 1]
    ).values():
        end(folder)
    assert otgan("report", "s", "-o", "s.html").exit_code == 0
    page = Path("s.html").read_text()
    assert "sweep of sinkhorn-grid" in page
    assert "heat/{metric}/{slice}" in page
    assert "4 finished" in page


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_sweep_has_a_picture(ending):
    for folder in sweep_folder(Path("s"), {"oracle.lam": [0.1, 1.0]}, [0, 1]).values():
        end(folder)
    done = otgan("report", "s", "-o", f"s.{ending}")
    assert done.exit_code == 0, done.output
    assert (
        Path(f"s.{ending}")
        .read_bytes()
        .startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])
    )


@pytest.mark.parametrize("name", ["report.html", "s.html", "s.htm", "s.png", "s.svg", "s.pdf"])
def test_a_file_of_the_users_is_kept_and_an_earlier_report_replaced(name):
    for folder in sweep_folder(Path("s"), {"oracle.lam": [0.1, 1.0]}, [0, 1]).values():
        end(folder)
    words = ["report", "s", *([] if name == "report.html" else ["-o", name])]
    mine, path = b"<html>my own report on otgan 1.0 </html>" * 500, Path(name)
    path.write_bytes(mine)
    refused = otgan(*words)
    assert refused.exit_code == 2
    assert f"{name} is there already, and otgan did not write it: give -o another name" in (
        refused.output
    )
    assert path.read_bytes() == mine
    path.write_bytes(b"")  # as mktemp makes it
    assert otgan(*words).exit_code == 0
    first = path.read_bytes()
    end(next(iter(sweep_folder(Path("s"), {"oracle.lam": [0.1, 2.0]}, [0, 1]).values())))
    again = otgan(*words)
    assert again.exit_code == 0, again.output
    assert first != path.read_bytes()
    assert [*Path().glob(f"{name}*")] == [path]


def test_a_page_is_written_where_a_link_leads():
    Path("pages").mkdir()
    Path("report.html").symlink_to("pages/there.html")
    assert otgan("report", run_folder(Path("r")).path).exit_code == 0
    assert Path("report.html").is_symlink()
    assert "sinkhorn-grid" in Path("pages/there.html").read_text()


def test_the_same_run_twice_is_one():
    folder = run_folder(Path("r")).path
    assert len(json.loads(otgan("report", folder, folder.resolve(), "--json").output)["runs"]) == 1


def test_a_page_is_made_without_jax():
    run_folder(Path("r"))
    code = (
        "import sys\nfrom otgan.cli import main\nmain.main(['report', 'r'],"
        " standalone_mode=False)\nsys.exit(f'{slow}' if (slow := {'jax', 'flax', 'ott', 'orbax',"
        " 'matplotlib', 'pandas'} & set(sys.modules)) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path("report.html").is_file()


def test_open_opens_the_page(monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert otgan("report", run_folder(Path("r")).path, "-o", "p.html", "--open").exit_code == 0
    assert opened == [Path("p.html").resolve().as_uri()]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["empty"], "empty is neither a run nor a sweep"),
        (["r", "empty"], "empty is neither a run nor a sweep"),
        (["r", "s"], "s is a sweep, which has a page of its own"),
        (["r", "--json", "--csv"], "--json and --csv both print"),
        (["r", "-o", "nowhere/p.html"], "cannot write nowhere/p.html"),
        (["r", "-o", "r.png"], "a picture is made of a sweep"),
        (["seeds", "-o", "r.png"], "this one has seeds alone; give -o a name that ends in .html"),
        (["s", "-o", "README.md"], "give -o a name that ends in .html"),
        (["s", "-o", "nowhere/s.png"], "cannot write nowhere/s.png"),
        ([], "Missing argument"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence):
    run_folder(Path("r"))
    sweep_folder(Path("s"), {"oracle.lam": [1.0]}, [0])
    sweep_folder(Path("seeds"), {}, [0, 1])
    Path("empty").mkdir()
    done = otgan("report", *words)
    assert done.exit_code == 2
    assert sentence in done.output
    assert not list(Path().glob("*.html"))


@pytest.mark.slow
def test_a_hundred_runs_have_a_page_in_ten_seconds(tmp_path):
    lines = [line(10 * i, loss=1.0 / i) for i in range(1, 651)]  # as many as a run of sinkhorn-grid
    folders = []
    for i in range(100):
        folder = run_folder(tmp_path / f"r{i:02d}", overrides={"train.seed": i}, lines=lines)
        for step in range(650, 6501, 650):
            picture(folder.picture(step), i, (600, 600))
        folders.append(folder.path)
    # as a user runs it: in the tests' own process every call's types are checked
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = otgan_alone("report", *folders)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10
    assert Path("report.html").stat().st_size < 8e6
