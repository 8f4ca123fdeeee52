"""`plan --optimize`, limits and `serve --optimize`, as users call them."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from tests.ggufs import header, llama, write
from tests.test_cli import MODEL, SHAPE, ggufctl

from fakehub import FakeFile, FakeHub
from ggufctl.core.goal import Goal, Limits, Objective
from ggufctl.core.planner import Constraints
from ggufctl.core.runtime import Runtime
from ggufctl.documents.plan import PlanDocument
from ggufctl.errors import DoesNotFit, UsageError
from ggufctl.services.plan import plan, plan_reference, read_model

BIG = {
    "n_embd": 4096,
    "n_vocab": 32000,
    "n_merges": 10,
    "llama__context_length": 32768,
    "llama__attention__head_count": 32,
    "llama__attention__head_count_kv": 8,
}
TYPES = {"Q2_K": "q2_K", "Q3_K_M": "q3_K", "Q4_K_M": "q4_K", "Q6_K": "q6_K", "Q8_0": "q8_0"}


def repository(hub: FakeHub, n_layer: int = 80) -> str:
    found: dict[str, FakeFile | bytes] = {
        f"Big-{label}.gguf": FakeFile(*header(*llama(**BIG, n_layer=n_layer, type_=type_)))
        for label, type_ in TYPES.items()
    }
    hub.add("acme/Big-GGUF", found)
    return "acme/Big-GGUF"


@pytest.fixture
def folder(tmp_path):
    """A directory with one model in it."""
    write(tmp_path / MODEL, *header(*llama(**SHAPE)))
    return tmp_path


def goal(**limits: float) -> Goal:
    return Goal(objective=Objective.COST, limits=Limits(**limits))


def test_a_repository_is_searched_from_q4_k_m_to_q8_0(hub):
    found = plan_reference(repository(hub), Runtime(), Constraints(goal=goal()), n_ctx=4096)

    assert found.optimization is not None
    quants = {each.quant for each in found.optimization.front}
    assert quants == {"Q4_K_M", "Q6_K", "Q8_0"}
    assert {quant.quant for quant in found.quants} == set(TYPES)


def test_the_pick_is_planned_by_its_own_header_and_served_as_it_was_found(hub):
    found = plan_reference(repository(hub), Runtime(), Constraints(goal=goal()), n_ctx=4096)
    optimization = found.optimization

    assert optimization is not None
    pick = optimization.pick
    assert pick is not None
    choice = found.require_choice()
    assert found.model.quant == pick.quant
    assert found.runtime == pick.runtime
    assert (choice.row.gpu, choice.row.count) == (pick.gpu, pick.count)
    assert pick.row is not None
    assert choice.row.used_bytes == pick.row.used_bytes
    assert choice.reason == optimization.sentence
    economics = found.economics_of(choice.row)
    assert economics is not None
    assert economics.speed.decode_tokens_per_s == pick.speed.decode_tokens_per_s
    for flag in pick.changes(optimization.asked):
        assert flag in choice.engine_args


def test_a_lower_quant_is_looked_at_when_it_is_asked_for(hub):
    asked = Goal(objective=Objective.MEMORY, min_quant="Q2_K")
    found = plan_reference(repository(hub), Runtime(), Constraints(goal=asked), n_ctx=4096)

    assert found.model.quant == "Q2_K"


def test_a_quant_in_the_reference_is_never_varied(hub):
    ref = f"{repository(hub)}:Q3_K_M"
    found = plan_reference(ref, Runtime(), Constraints(goal=goal()), n_ctx=4096)

    assert found.optimization is not None
    assert {each.quant for each in found.optimization.front} == {"Q3_K_M"}


def test_a_model_that_was_read_is_optimized_as_well(folder):
    model = read_model(folder / MODEL)
    constraints = Constraints(goal=Goal(objective=Objective.LATENCY))

    fast = plan(model, Runtime(n_ctx=4096), constraints).require_choice()
    cheap = plan(model, Runtime(n_ctx=4096)).require_choice()

    assert fast.row.gpu.bandwidth_gb_s > cheap.row.gpu.bandwidth_gb_s


def test_what_is_to_be_fast_falls_back_only_to_what_is_about_as_fast(folder):
    model = read_model(folder / MODEL)
    constraints = Constraints(goal=Goal(objective=Objective.LATENCY))
    found = plan(model, Runtime(n_ctx=4096), constraints)

    choice = found.require_choice()
    named = {row.gpu.modal_gpu(row.count): row for row in found.gpus if row.gpu.modal_names}
    own = found.economics_of(choice.row)
    assert own is not None
    longest = 1.25 * own.speed.request_seconds(1000, 300).high
    for name in choice.modal_gpu:
        other = found.economics_of(named[name])
        assert other is not None
        assert other.speed.request_seconds(1000, 300).high <= longest


def test_what_meets_no_limit_says_which_one_binds(hub):
    found = plan_reference(
        repository(hub),
        Runtime(),
        Constraints(max_usd_per_hour=0.7, goal=goal(min_tokens_per_s=60.0)),
        n_ctx=4096,
    )

    assert found.choice is None
    assert not found.ladder
    with pytest.raises(DoesNotFit, match=r"--max-usd-per-hour 0\.7 binds"):
        found.require_choice()


def test_limits_alone_take_rows_out_of_an_ordinary_plan_and_say_why(folder):
    model = read_model(folder / MODEL)
    everything = plan(model, Runtime(n_ctx=4096))
    limited = plan(
        model,
        Runtime(n_ctx=4096),
        Constraints(goal=Goal(limits=Limits(min_tokens_per_s=100.0))),
    )

    assert limited.optimization is None
    slow = [row for row in limited.gpus if "tokens/s" in row.reason]
    assert slow
    assert all(row.fits and not row.is_allowed for row in slow)
    chosen = limited.require_choice().row
    assert chosen.usd_per_hour > everything.require_choice().row.usd_per_hour
    assert not any(name in ("T4",) for name in limited.require_choice().modal_gpu)


def test_without_a_goal_a_plan_is_what_it_was(folder):
    model = read_model(folder / MODEL)
    before = plan(model, Runtime(n_ctx=4096))
    after = plan(model, Runtime(n_ctx=4096), Constraints(goal=Goal()))

    assert before.optimization is None
    assert [row.reason for row in before.gpus] == [row.reason for row in after.gpus]
    assert before.choice is not None
    assert after.choice is not None
    assert before.choice.engine_args == after.choice.engine_args


def test_the_largest_context_and_a_search_exclude_each_other():
    with pytest.raises(UsageError):
        Constraints(max_context=True, goal=goal())


# The command line.


def document(found: subprocess.CompletedProcess[str]) -> PlanDocument:
    return PlanDocument.model_validate_json(found.stdout)


def test_the_document_holds_the_front_and_the_pick(folder):
    found = ggufctl(folder, "plan", MODEL, "--optimize", "cost", "-c", "4096", "--json")

    assert found.returncode == 0, found.stderr
    optimization = document(found).optimization
    assert optimization is not None
    assert optimization.judged_by == "careful"
    assert [each.is_pick for each in optimization.front].count(True) == 1
    assert optimization.pick is not None
    assert optimization.pick in optimization.front


def test_an_ordinary_document_says_that_nothing_was_searched_for(folder):
    found = ggufctl(folder, "plan", MODEL, "-c", "4096", "--json")

    assert json.loads(found.stdout)["optimization"] is None


def test_a_pipe_gets_the_whole_front(folder):
    arguments = ("plan", MODEL, "--optimize", "latency", "-c", "4096")
    rows = [line.split("\t") for line in ggufctl(folder, *arguments).stdout.splitlines()]
    whole = document(ggufctl(folder, *arguments, "--json")).optimization

    assert rows[0][:4] == ["quant", "bits_per_weight", "gpu", "count"]
    assert whole is not None
    assert len(rows) == 1 + len(whole.front)
    assert [row[-1] for row in rows].count("yes") == 1


def test_flags_variables_and_the_configuration_file_all_fix_a_setting(folder):
    def fixed(*options: str, **more: str) -> list[str]:
        arguments = ("plan", MODEL, "--optimize", "memory", "-c", "4096", "--json", *options)
        found = document(ggufctl(folder, *arguments, **more)).optimization
        assert found is not None
        return found.fixed

    assert fixed() == []
    assert fixed("-ctk", "f16") == ["cache_type_k"]
    assert fixed("-np", "4", GGUFCTL_UBATCH_SIZE="512") == ["n_parallel", "n_ubatch"]


def test_infeasible_is_exit_5_with_the_limit_that_binds(folder):
    found = ggufctl(
        folder, "plan", MODEL, "--optimize", "cost", "--min-tokens-per-s", "5000", "--json"
    )

    assert found.returncode == 5
    optimization = document(found).optimization
    assert optimization is not None
    assert optimization.pick is None
    assert [each.limit for each in optimization.binding] == ["--min-tokens-per-s"]
    assert "--min-tokens-per-s 5000 binds" in found.stderr


def test_limits_alone_that_nothing_meets_are_exit_5_as_well(folder):
    found = ggufctl(folder, "plan", MODEL, "--max-ttft", "0.0001")

    assert found.returncode == 5
    assert "--max-ttft 0.0001 binds" in found.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--optimize", "speed"),
        ("--optimize", "cost", "--min-quant", "Q9"),
        ("--optimize", "cost", "-c", "max"),
        ("--judge", "mildly", "--optimize", "cost"),
        ("--min-quant", "Q3_K_M"),
        *(
            (option, value)
            for option in ("--min-tokens-per-s", "--max-ttft", "--max-cold-start")
            for value in ("nan", "inf", "-inf", "-1", "0", "many", "")
        ),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("command", ["plan", "serve"])
def test_a_goal_that_makes_no_sense_is_a_sentence_and_exit_2(folder, command, arguments):
    more = ("--dry-run",) if command == "serve" else ()
    found = ggufctl(folder, command, MODEL, *arguments, *more)

    assert found.returncode == 2, found.stderr
    assert found.stderr.startswith("error: ")
    assert "Traceback" not in found.stderr
    assert not found.stdout


def test_a_least_quant_says_that_it_chooses_nothing_where_the_quant_is_named(hub):
    asked = Constraints(goal=Goal(objective=Objective.COST, min_quant="Q8_0"))
    repo = repository(hub)
    named = plan_reference(f"{repo}:Q4_K_M", Runtime(), asked, n_ctx=4096)
    chosen = plan_reference(repo, Runtime(), asked, n_ctx=4096)

    assert any("--min-quant chooses among" in text for text in named.warnings)
    assert not any("--min-quant" in text for text in chosen.warnings)


def test_a_dry_run_serves_what_was_picked(folder):
    arguments = ("--optimize", "latency", "--max-usd-per-hour", "2", "-c", "4096")
    picked = document(ggufctl(folder, "plan", MODEL, *arguments, "--json")).choice
    found = ggufctl(folder, "serve", MODEL, *arguments, "--dry-run")

    assert found.returncode == 0, found.stderr
    assert picked is not None
    assert f"gpu      {picked.modal_gpu[0]}" in found.stdout


def test_on_this_machine_there_is_nothing_to_search(folder):
    found = ggufctl(folder, "serve", MODEL, "--on", "local", "--optimize", "cost", "--dry-run")

    assert found.returncode == 2
    assert "--on modal" in found.stderr


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("n_layer", [12, 48, 80])
def test_only_the_best_of_all_is_called_so(hub, objective, n_layer):
    asked = Constraints(goal=Goal(objective=objective))
    found = plan_reference(repository(hub, n_layer), Runtime(), asked, n_ctx=4096).optimization

    assert found is not None and found.pick is not None
    best = min(each.value(objective) for each in found.front)
    over = 100 * (found.pick.value(objective) / best - 1)
    said = re.search(
        r" is (?:within (\d) % of )?the (cheapest|fastest|smallest) of ", found.sentence
    )
    assert said is not None
    assert over <= float(said[1] or 0.05) <= 5


def test_what_a_larger_budget_rents_is_said_once(hub):
    asked = Constraints(max_usd_per_hour=0.5, goal=goal())
    found = plan_reference(repository(hub), Runtime(), asked, n_ctx=4096)

    assert found.optimization is not None
    assert "--max-usd-per-hour 0.5 binds" in found.optimization.sentence
    assert all(step.usd_per_hour <= 0.5 for step in found.ladder)
