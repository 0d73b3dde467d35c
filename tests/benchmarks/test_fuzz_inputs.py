"""Damaged, hostile and senseless inputs: the small form of ``benchmarks/fuzz_inputs.py``."""

import importlib.util
import os
import random
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz_inputs.py"
COUNT = 200


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("fuzz_inputs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results(script):
    """Verdicts of a small run over all kinds that need neither real files nor bombs, whose making takes seconds."""
    chosen = [item for item in script.spread(COUNT, None) if item[0] not in script.BOMBS]
    return list(script.run(chosen, None, seed=1))


def test_every_input_is_read_refused_with_a_clear_message_or_quarantined(script, results):
    bad = [(kind, number, verdict) for kind, number, verdict in results if verdict.outcome not in script.GOOD]
    assert not bad
    assert Counter(verdict.outcome for _, _, verdict in results).keys() == set(script.GOOD), "each of the three occurs"


@pytest.mark.slow
def test_two_thousand_fixed_inputs(script):
    """Minutes; what they are is fixed by the seed, so that it judges a change and not luck."""
    chosen = [item for item in script.spread(2000, None) if item[0] not in script.BOMBS]
    bad = [result for result in script.run(chosen, None, seed=7) if result[2].outcome not in script.GOOD]
    assert not bad


def test_an_input_is_a_function_of_seed_kind_and_number(script, results):
    some = [(kind, number) for kind, number, _ in results if number == 3]
    again = {(kind, number): verdict for kind, number, verdict in script.run(some, None, seed=1)}
    assert again == {(kind, number): verdict for kind, number, verdict in results if number == 3}


def test_the_table_counts_every_input_once(script, results):
    rows = script.table(results).splitlines()
    totals = [int(cell.replace(",", "")) for cell in rows[-1].split("|")[2:-1]]
    assert totals[0] == len(results) == sum(totals[1:])
    assert len(rows) == 3 + len({kind for kind, _, _ in results})


def test_the_judge_reports_what_must_not_be(script, tmp_path):
    from fuzzing.judge import CRASH, MEMORY, OUT, REFUSED, Verdict, Watch, attempt, judged

    from foundationx.core.errors import DataError

    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.txt").write_text("x")
    (inside / "link.txt").symlink_to(outside / "a.txt")
    watch = Watch([])

    def outcome(call):
        return judged(lambda: attempt(call, ["a.txt"]), watch, [inside]).outcome

    def fail(error):
        raise error

    assert outcome((inside / "a.txt").read_text) == "read"
    assert outcome((inside / "link.txt").read_text) == OUT
    assert outcome(lambda: os.listdir(outside)) == OUT
    assert outcome(lambda: fail(DataError("a.txt row 1", "x"))) == REFUSED
    assert outcome(lambda: fail(DataError("some file", "x"))) == CRASH
    assert outcome(lambda: fail(KeyError("x"))) == CRASH
    assert outcome(lambda: fail(MemoryError())) == MEMORY
    assert judged(lambda: Verdict("read"), watch, []).outcome == "read"


@pytest.mark.slow
def test_a_process_that_ends_or_hangs_is_reported_and_replaced(script, tmp_path, monkeypatch):
    from fuzzing.kinds import KINDS, Kind

    deeds = {0: lambda: None, 1: lambda: os._exit(3), 2: lambda: __import__("time").sleep(60)}

    def judge(sandbox, drawn: random.Random):
        deeds[sandbox.number]()
        return script.Verdict("read")

    class Box:
        def __init__(self, base, shared, seed):
            pass

        def judge(self, kind, number):
            self.number = number
            return KINDS[kind].judge(self, random.Random(number))

    monkeypatch.setitem(KINDS, "deed", Kind(judge, 1))
    monkeypatch.setattr(script, "Sandbox", Box)
    monkeypatch.setattr(script, "WAIT", 2.0)
    result = [verdict for _, _, verdict in script.run([("deed", n) for n in (0, 1, 0, 2, 0)], None, 0)]
    assert [verdict.outcome for verdict in result] == ["read", "crash", "read", "too slow", "read"]
    assert "ended with 3" in result[1].why
