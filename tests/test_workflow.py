"""The workflow: what it runs exists, what it uses is pinned, and no text of an event becomes a command."""

import re

import pytest
from packaging.specifiers import SpecifierSet

from tests.support import plain_yaml
from tests.support.lock import PYPROJECT, ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*"))
TEXT = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
WORKFLOW = plain_yaml.load(TEXT)
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
COMMANDS = [step["run"] for step in STEPS if "run" in step]
RULES = re.findall(r"^([a-z% -]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
TARGETS = {target for rule in RULES for target in rule.split()}
BY_HAND_OR_BY_DATE = "github.event_name == 'schedule' || github.event_name == 'workflow_dispatch'"


def position(test):
    (found,) = [i for i, step in enumerate(STEPS) if test(step)]
    return found


def uses(name):
    return position(lambda step: step.get("uses", "").startswith(f"{name}@"))


def test_this_is_the_only_workflow():
    assert [file.name for file in FILES] == ["ci.yml"]


def test_its_targets_exist():
    called = [re.match(r"make ([a-z-]+)", command)[1] for command in COMMANDS if command.startswith("make")]
    assert called == ["setup", "lint", "test", "test-docs", "regress", "bench-train", "mutants"]
    assert set(called) <= TARGETS


def test_actions_are_githubs_own_and_pinned_to_a_major_version():
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert len(used) + len(COMMANDS) == len(STEPS)
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@v[1-9][0-9]*", action), action


def test_no_text_of_an_event_is_run():
    """An expression is filled in before the shell reads the command, so a branch's name could be a command."""
    assert [command for command in COMMANDS if "${{" in command] == []
    assert "pull_request_target" not in TEXT
    assert set(re.findall(r"\bgithub\.[a-z_.]+", TEXT)) <= {"github.event_name"}
    assert "secrets" not in TEXT


def test_it_may_only_read():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in WORKFLOW["jobs"].values())


def test_the_environment_is_kept_for_the_lock_and_the_python():
    python, cache = STEPS[uses("actions/setup-python")], STEPS[uses("actions/cache")]
    assert python["with"]["python-version"] == "3.12"
    assert "3.12" in SpecifierSet(PYPROJECT["project"]["requires-python"])
    assert cache["with"]["path"] == ".venv"
    assert f"steps.{python['id']}.outputs.python-version" in cache["with"]["key"]
    assert "hashFiles('requirements.lock')" in cache["with"]["key"]
    made, kept = (
        position(lambda step, c=c: step.get("run") == c) for c in ("python -m venv .venv", "touch .venv/.ready")
    )
    assert STEPS[made]["if"] == f"steps.{cache['id']}.outputs.cache-hit != 'true'"
    assert STEPS[kept]["if"] == f"steps.{cache['id']}.outputs.cache-hit == 'true'"
    first_make = min(i for i, step in enumerate(STEPS) if step.get("run", "").startswith("make"))
    assert uses("actions/setup-python") < uses("actions/cache") < min(made, kept) and max(made, kept) < first_make


def test_the_report_of_the_gate_is_kept_also_when_the_gate_fails():
    gate, upload = position(lambda step: "make regress" in step.get("run", "")), uses("actions/upload-artifact")
    assert STEPS[gate]["run"] == f"make regress JUNIT={STEPS[upload]['with']['path']}"
    assert STEPS[upload]["if"] == "always()" and upload > gate


def test_timing_and_the_injected_bugs_run_by_date_or_by_hand_only():
    assert {"schedule", "workflow_dispatch", "push", "pull_request"} == set(WORKFLOW["on"])
    for command in ("make bench-train", "make mutants"):
        assert STEPS[position(lambda step, c=command: step.get("run") == c)]["if"] == BY_HAND_OR_BY_DATE


def test_it_is_yaml_as_others_read_it():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not among the pinned packages")
    assert yaml.load(TEXT, Loader=yaml.BaseLoader) == WORKFLOW


@pytest.mark.parametrize(
    "text",
    [
        "a: |\n  b",
        "a: *b",
        "a: {b: c}",
        "a: b: c",
        "a: b # c",
        "a: b\na: c",
        "a:\n  b: c\n d: e",
        "a: b\n  c: d",
        "a:\n\tb: c",
        "a",
        'a: "b',
        "a: 'b'",
        "- a\n- - b",
    ],
)
def test_what_the_reader_of_yaml_does_not_know_it_refuses(text):
    with pytest.raises(AssertionError):
        plain_yaml.load(text)
