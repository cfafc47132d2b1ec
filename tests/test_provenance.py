"""Which code made a table."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from dpe_mner.reproduce.provenance import source_commit


@pytest.fixture
def repository(tmp_path):
    """A git repository with a package of one file, and how to call git in it."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        run = subprocess.run(["git", *who, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "Begin")
    return package, git


def test_the_commit_of_the_source_and_whether_it_was_edited(repository):
    package, git = repository
    commit = git("rev-parse", "HEAD")
    assert len(commit) == 40
    assert source_commit(package) == commit
    (package.parent / "elsewhere.txt").write_text("not the package")
    assert source_commit(package) == commit
    (package / "__init__.py").write_text("edited = True\n")
    assert source_commit(package) == f"{commit}+changes"


def test_a_package_installed_inside_somebodys_repository_has_no_commit(repository):
    installed = repository[0].parent / "venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert source_commit(installed) is None


def test_without_git_there_is_no_commit(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert source_commit(repository[0]) is None
