"""Every dataset gets a reason: what a recipe asks, what is known, and what becomes of what is not known."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core.errors import RecipeError
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.fusion.recipe import Recipe, load_recipe
from foundationx.datasets.fusion.record import Record
from foundationx.datasets.fusion.select import rank, select

VOCABULARY = Catalog().vocabulary
FULL = {
    "access": "open",
    "dimensions": ("2D",),
    "modalities": ("X-ray",),
    "tasks": ("classification",),
    "licence": "CC BY 4.0",
    "commercial": "yes",
    "redistribution": "yes",
    "anatomy": ("lung",),
    "label_presence": "labelled",
    "volume": {"total": 500},
    "released": "2019-05",
    "organisations": ("A",),
    "storage_gb": 10.0,
}


def record(name="x", **changes):
    return Record(**(FULL | {"name": name, "title": name} | changes))


def recipe(**values):
    return Recipe.model_validate({"name": "r", **values})


def decide(found, **values):
    (decision,) = select([found], recipe(**values), VOCABULARY)
    return decision


# A key of the recipe, a fact for which it holds, one for which it fails, and one that is not known.
CASES = [
    ({"access": ["open"]}, {}, {"access": "credentialed"}, {"access": None}),
    ({"dimension": "2D"}, {}, {"dimensions": ("3D",)}, {"dimensions": ()}),
    ({"modalities": ["X-Ray", "CT"]}, {}, {"modalities": ("MR",)}, {"modalities": ()}),
    ({"task_types": ["cls"]}, {}, {"tasks": ("detection",)}, {"tasks": ()}),
    ({"licence_allowlist": ["cc-by-4.0"]}, {}, {"licence": "CC BY-NC 4.0"}, {"licence": None}),
    ({"licence_allowlist": ["MIT"]}, {"licence": "terms", "spdx": "MIT"}, {"licence": "terms"}, {"licence": None}),
    ({"commercial": "required"}, {}, {"commercial": "no"}, {"commercial": "unknown"}),
    ({"redistribution": "required"}, {}, {"redistribution": "no"}, {"redistribution": "unknown"}),
    (
        {"commercial": "required", "trust_unverified": False},
        {"unverified": ("home",)},
        {"commercial": "no"},
        {"unverified": ("licence.commercial",)},
    ),
    ({"anatomy_whitelist": ["chest"]}, {}, {"anatomy": ("rib", "Hand")}, {"anatomy": ()}),
    ({"include_unlabelled": False}, {}, {"label_presence": "unlabelled"}, {"label_presence": None}),
    ({"min_valid_images": 500}, {}, {"valid_images": 499}, {"volume": {}}),
    ({"release_date_min": "2018-06"}, {"released": "2018-06-01"}, {"released": "2017"}, {"released": "2018"}),
]
RECORD_KEYS = (
    *("dimension", "commercial", "anatomy_whitelist", "include_unlabelled", "min_valid_images", "release_date_min"),
)


@pytest.mark.parametrize(("asked", "holds", "fails", "unknown"), CASES, ids=[next(iter(case[0])) for case in CASES])
def test_each_key_and_each_policy(asked, holds, fails, unknown):
    key = next(iter(asked))
    for policy in ("keep", "drop", "warn"):
        kept = decide(record(**holds), unknown_policy=policy, **asked)
        assert kept.kept and not kept.reasons and not kept.unknown
        dropped = decide(record(**fails), unknown_policy=policy, **asked)
        assert not dropped.kept and [reason.split(":")[0] for reason in dropped.reasons] == [key]
        open_ = decide(record(**unknown), unknown_policy=policy, **asked)
        assert open_.kept == (policy != "drop")
        reported = open_.reasons if policy == "drop" else open_.unknown
        assert [text.split(":")[0] for text in reported] == [key]
        assert bool(open_.warned) == (policy == "warn")
        assert decide(record(**unknown), unknown_policy="drop", unknown_policy_by_key={key: "keep"}, **asked).kept


def test_a_recipe_that_asks_nothing_keeps_what_nobody_knows_anything_of():
    assert decide(Record(name="x", title="x"), unknown_policy="drop").kept


def test_a_reason_names_key_and_value():
    decision = decide(record(dimensions=("3D",), commercial="no"), dimension="2D", commercial="required")
    assert decision.reasons == ("dimension: is 3D; 2D is required", "commercial: the licence states no")


def test_volumes_count_as_2d_sources_only_where_that_is_allowed():
    assert not decide(record(dimensions=("3D",)), dimension="2D").kept
    assert decide(record(dimensions=("3D",)), dimension="2D", allow_3d_as_2d_sources=True).kept
    assert not decide(record(dimensions=("2D",)), dimension="3D", allow_3d_as_2d_sources=True).kept


def test_an_unverified_permission_is_accepted_by_default():
    assert decide(record(unverified=("licence.commercial",)), commercial="required", unknown_policy="drop").kept


def test_mixed_labels_are_not_unlabelled():
    assert decide(record(label_presence="mixed"), include_unlabelled=False).kept


def test_cleaned_images_count_before_published_ones():
    assert not decide(record(valid_images=90, volume={"total": 5000}), min_valid_images=100).kept
    assert decide(record(volume={"train": 60, "test": 40}), min_valid_images=100).kept


def test_datasets_by_name_and_pattern():
    records = [record("a_one"), record("a_two"), record("b")]

    def kept(**cards):
        return [d.record.name for d in select(records, recipe(cards=cards), VOCABULARY) if d.kept]

    assert kept(allow=["a_*", "b"], deny=["*_two"]) == ["a_one", "b"]
    assert kept(deny=["b"]) == ["a_one", "a_two"]
    with pytest.raises(RecipeError, match="did you mean 'a_one'"):
        kept(allow=["a_onne"])


def test_too_few_datasets_or_organisations_of_a_modality():
    xray = [record("x1", organisations=("A",)), record("x2", organisations=("a",))]
    records = [*xray, record("ct", modalities=("CT",)), record("both", modalities=("CT", "MR", "X-ray"))]

    def kept(policy="keep", among=records, **selection):
        result = select(among, recipe(selection=selection, unknown_policy=policy), VOCABULARY)
        return [decision.record.name for decision in result if decision.kept]

    assert kept(min_datasets_per_modality=3) == ["x1", "x2", "both"], "CT has two, X-ray three"
    assert kept(min_datasets_per_modality=2) == ["x1", "x2", "ct", "both"]
    assert kept(min_organisations_per_modality=2) == [], "A and a are one organisation"
    unnamed = [*records[:3], record("both", modalities=("CT", "MR", "X-ray"), organisations=())]
    assert kept("keep", unnamed, min_organisations_per_modality=2) == ["x1", "x2", "ct", "both"], "it may be another"
    assert kept("drop", unnamed, min_organisations_per_modality=2) == []


def test_the_budget_takes_labelled_datasets_first_where_that_is_preferred():
    records = [
        record("dense_unlabelled", label_presence="unlabelled", storage_gb=40.0, volume={"total": 9000}),
        record("labelled", storage_gb=50.0, volume={"total": 100}),
        record("huge", storage_gb=95.0, volume={"total": 90}),
        record("small_mixed", label_presence="mixed", storage_gb=8.0, volume={"total": 10}),
    ]

    def kept(**values):
        asked = recipe(selection={"storage_budget_gb": 100}, **values)
        decisions = select(records, asked, VOCABULARY)
        return {decision.record.name: decision for decision in decisions if decision.kept}, decisions

    first, decisions = kept(prefer_labelled=True)
    # labelled 50 of 100; huge 95 does not fit into 50; mixed 8; 40 of the 42 left go to the unlabelled one
    assert list(first) == ["dense_unlabelled", "labelled", "small_mixed"]
    assert decisions[2].reasons == ("selection.storage_budget_gb: needs 95 GB, 50 of 100 GB are left",)
    records[0] = record("dense_unlabelled", label_presence="unlabelled", storage_gb=60.0, volume={"total": 9000})
    assert list(kept(prefer_labelled=True)[0]) == ["labelled", "small_mixed"]
    # by images a gigabyte: 150, 2, 1.25, 0.95: 60 of 100, 50 does not fit, 8 fits
    assert list(kept(prefer_labelled=False)[0]) == ["dense_unlabelled", "small_mixed"]


def test_a_size_that_nobody_knows_follows_the_policy():
    result = record(storage_gb=None)
    assert decide(result, selection={"storage_budget_gb": 1}, unknown_policy="warn").warned
    assert not decide(result, selection={"storage_budget_gb": 1}, unknown_policy="drop").kept


def test_the_budget_may_leave_a_modality_too_small():
    records = [record("a", storage_gb=60.0), record("b", storage_gb=60.0)]
    selection = {"storage_budget_gb": 100, "min_datasets_per_modality": 2}
    decisions = select(records, recipe(selection=selection), VOCABULARY)
    assert [decision.reasons[0].split(":")[0] for decision in decisions] == [
        "selection.min_datasets_per_modality",
        "selection.storage_budget_gb",
    ]


def test_more_of_the_tasks_asked_for_come_first():
    both = record("z", tasks=("classification", "detection"))
    asked = recipe(task_types=["classification", "detection"])
    assert sorted([record("a"), both], key=lambda one: rank(one, asked))[0] is both


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("modalitys: [CT]", "did you mean 'modalities'"),
        ("modalities: [Sonar]", "'Sonar' is unknown"),
        ("task_types: [detecting]", "did you mean 'detection'"),
        ("dimension: 5D", "found '5D'"),
        ("unknown_policy: maybe", "unknown_policy"),
        ("unknown_policy_by_key: {storage: keep}", "'storage' checks no fact"),
        ("selection: {storage_budget_gb: -1}", "selection.storage_budget_gb"),
        ("anatomy_whitelist: [lungs]", "did you mean 'lung'"),
        ("name: again", "is given twice"),
        ("run: {image_size: 100}", "run.image_size"),
    ],
)
def test_faults_of_a_recipe_name_file_and_key(tmp_path, line, found):
    path = tmp_path / "r.yaml"
    path.write_text(f"name: r\n{line}\n")
    with pytest.raises(RecipeError, match=found) as caught:
        load_recipe(path, VOCABULARY)
    assert str(path) in caught.value.where


def test_the_portal_s_spellings_are_understood(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: r\ndimension: 2d\nmodalities: [X-Ray, Fundus]\ntask_types: [Cls, Seg]\nrelease_date_min: 2017\n"
    )
    read = load_recipe(path, VOCABULARY)
    assert read.dimension == "2D" and read.modalities == ("X-ray", "fundus") and read.release_date_min == "2017"
    assert read.task_types == ("classification", "segmentation")


RECORDS = st.builds(
    lambda **facts: Record(name="x", title="x", **facts),
    dimensions=st.sampled_from([(), ("2D",), ("3D",)]),
    commercial=st.sampled_from(["yes", "no", "unknown"]),
    anatomy=st.sampled_from([(), ("lung",), ("Hand",)]),
    label_presence=st.sampled_from([None, "labelled", "unlabelled"]),
    released=st.sampled_from([None, "2015", "2018", "2018-07"]),
    volume=st.sampled_from([{}, {"total": 50}, {"total": 500}]),
)


@settings(deadline=None)
@given(RECORDS)
def test_a_dropped_dataset_has_a_reason_and_a_stricter_policy_keeps_no_more(found):
    asked = {key: value for case in CASES for key, value in case[0].items() if key in RECORD_KEYS}
    by_policy = {policy: decide(found, unknown_policy=policy, **asked) for policy in ("keep", "warn", "drop")}
    assert all(decision.kept != bool(decision.reasons) for decision in by_policy.values())
    assert by_policy["keep"].kept == by_policy["warn"].kept >= by_policy["drop"].kept
    assert by_policy["drop"].kept == (by_policy["keep"].kept and not by_policy["keep"].unknown)


@pytest.mark.parametrize(
    ("organisations", "least", "verdict"),
    [
        # two named and one unnamed dataset: two organisations for sure, three at most
        ([("A",), ("B",), ()], 2, "kept"),
        ([("A",), ("B",), ()], 3, "unknown"),
        ([("A",), ("B",), ()], 4, "left out"),
        ([("A",), ("a",), ("A", "B")], 2, "kept"),
        ([("A",), ("a",), ("A", "B")], 3, "left out"),
        ([(), (), ()], 1, "unknown"),
        ([(), (), ()], 3, "unknown"),
        ([(), (), ()], 4, "left out"),
    ],
)
def test_the_number_of_organisations_at_its_boundaries(organisations, least, verdict):
    records = [record(f"x{index}", organisations=names) for index, names in enumerate(organisations)]
    key = "selection.min_organisations_per_modality"

    def decisions(policy):
        asked = recipe(selection={"min_organisations_per_modality": least}, unknown_policy=policy)
        return select(records, asked, VOCABULARY)

    for policy in ("keep", "warn", "drop"):
        for decision in decisions(policy):
            assert decision.kept == (verdict == "kept" or (verdict == "unknown" and policy != "drop"))
            facts = decision.reasons if not decision.kept else decision.unknown
            assert [fact.split(":")[0] for fact in facts] == ([] if verdict == "kept" else [key])
            assert bool(decision.warned) == (verdict == "unknown" and policy == "warn")
    named = len({name.casefold() for names in organisations for name in names})
    texts = [text for decision in decisions("keep") for text in (*decision.reasons, *decision.unknown)]
    assert all(text == f"{key}: X-ray has {named} recorded, {least} are required" for text in texts)


def test_a_modality_that_may_be_large_enough_speaks_for_a_dataset_of_several():
    # X-ray has one organisation for sure, CT may have two: the dataset of both is unknown, that of X-ray is left out
    records = [
        record("x", organisations=("A",)),
        record("both", modalities=("X-ray", "CT"), organisations=("A",)),
        record("ct", modalities=("CT",), organisations=()),
    ]
    asked = recipe(selection={"min_organisations_per_modality": 2}, unknown_policy="keep")
    decisions = {decision.record.name: decision for decision in select(records, asked, VOCABULARY)}
    assert not decisions["x"].kept and decisions["both"].kept and decisions["ct"].kept
    assert decisions["both"].unknown == ("selection.min_organisations_per_modality: CT has 1 recorded, 2 are required",)


def test_only_modalities_that_are_asked_for_count():
    records = [record("x"), record("y", organisations=("B",)), record("both", modalities=("X-ray", "CT"))]
    asked = recipe(modalities=["X-ray"], selection={"min_datasets_per_modality": 3})
    assert all(decision.kept for decision in select(records, asked, VOCABULARY))
    asked = recipe(modalities=["CT"], selection={"min_datasets_per_modality": 1})
    assert [decision.kept for decision in select(records, asked, VOCABULARY)] == [False, False, True]


def test_a_dataset_of_unknown_modality_is_not_counted_and_not_left_out():
    records = [record("x"), record("open", modalities=())]
    decisions = select(records, recipe(selection={"min_datasets_per_modality": 2}), VOCABULARY)
    assert [decision.kept for decision in decisions] == [False, True]


def test_a_size_that_fills_the_budget_exactly_fits():
    records = [record("a", storage_gb=60.0), record("b", storage_gb=40.0), record("c", storage_gb=0.5)]
    decisions = select(records, recipe(selection={"storage_budget_gb": 100}), VOCABULARY)
    kept = {decision.record.name for decision in decisions if decision.kept}
    # by images per gigabyte: c 1000, b 12.5, a 8.3: c and b fit, a does not; without c the other two fill it exactly
    assert kept == {"b", "c"}
    both = select(records[:2], recipe(selection={"storage_budget_gb": 100}), VOCABULARY)
    assert all(decision.kept for decision in both)


def test_rank_by_hand():
    plain = recipe()
    assert rank(record("a", storage_gb=None), plain) == (0, -1, -0.0, "a")
    assert rank(record("a", storage_gb=10.0), plain) == (0, -1, -50.0, "a")
    assert rank(record("a", storage_gb=10.0, volume={}), plain) == (0, -1, -0.0, "a")
    labels = [
        rank(record("a", label_presence=one), recipe(prefer_labelled=True))[0]
        for one in ("labelled", "mixed", None, "unlabelled")
    ]
    assert labels == [0, 1, 2, 3]
    two = record("a", tasks=("classification", "detection"))
    assert rank(two, plain)[1] == -2 and rank(two, recipe(task_types=["detection"]))[1] == -1


def test_warnings_of_the_same_fact_are_given_once():
    records = [record("x", organisations=()), record("y", storage_gb=None, organisations=())]
    selection = {"min_organisations_per_modality": 2, "storage_budget_gb": 100}
    decisions = select(records, recipe(selection=selection, unknown_policy="warn"), VOCABULARY)
    assert [len(decision.warned) for decision in decisions] == [1, 2]
    assert all(decision.warned == decision.unknown for decision in decisions)


def test_of_several_modalities_that_are_too_small_the_first_is_named():
    both = record("both", modalities=("CT", "MR"))
    (decision,) = select([both], recipe(selection={"min_datasets_per_modality": 2}), VOCABULARY)
    assert decision.reasons == ("selection.min_datasets_per_modality: CT has 1, 2 are required",)
