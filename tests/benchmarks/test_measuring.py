"""What the benchmarks measure with, by hand."""

import pytest
import torch
from measuring import Operations, bytes_for_backward, in_turns, paired, peak_bytes
from run_all import sections, tables
from torch import nn


def test_the_peak_counts_what_lives_at_once_and_no_view():
    given = torch.zeros(1000)

    def step():
        first = given + 1  # 4000 bytes
        second = first.view(10, 100) * 2  # 4000 more
        del first
        return second.view(-1) + 1  # `second` still lives: never three at once

    assert peak_bytes(step) == 8000


def test_what_is_stored_for_the_backward_pass():
    layer, image = nn.Linear(10, 20), torch.zeros(5, 10)
    assert bytes_for_backward(lambda: layer(image)) == 5 * 10 * 4, "the input; weights are held anyway"
    assert bytes_for_backward(lambda: layer(image).relu()) == (5 * 10 + 5 * 20) * 4
    layer.requires_grad_(False)
    assert bytes_for_backward(lambda: layer(image)) == 0


def test_things_are_run_in_turns_and_the_first_run_does_not_count():
    order = []
    result = in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, runs=2)
    assert order == ["a", "b"] * 3 and set(result) == {"a", "b"}


@pytest.mark.parametrize(
    "text", ["## One\n\nwords\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | - |\n\n## Two\n\nno table"]
)
def test_tables_are_read_back(text):
    assert tables(text) == [{"table": "One", "a": "1", "b": "2"}, {"table": "One", "a": "3", "b": "-"}]


def test_operations_are_counted_as_torch_is_asked_for_them():
    left, right = torch.ones(3, 4), torch.ones(4, 5)
    with Operations() as asked:
        (left + 1) @ right
    assert (asked.count, asked.flop) == (2, 2 * 3 * 4 * 5)


def test_a_ratio_of_pairs_leaves_out_what_slowed_both():
    assert paired([2.0, 20.0, 4.0], [1.0, 10.0, 1.0]) == 2.0


def test_sections_of_a_page_are_read_back():
    page = "# Page\n\n<!-- one -->\n\n## One\n\ntext\n\n## More\n\n<!-- two -->\n\n## Two\n"
    assert sections(page) == {"one": "## One\n\ntext\n\n## More", "two": "## Two"}
