"""Several ranks deal the batches of an evaluation: each has one rank, the one that writes the fewest."""

import threading

import pytest

from foundationx.core import distributed
from foundationx.evaluation.sharing import collect_in_order, measuring_rank, own_share


class Ranks:
    """Threads in place of processes: a message is a place where all of them meet."""

    def __init__(self, size, monkeypatch):
        self.size, self.local = size, threading.local()
        self.barrier, self.sent = threading.Barrier(size), [None] * size
        monkeypatch.setattr(distributed, "rank", lambda: self.local.rank)
        monkeypatch.setattr(distributed, "world_size", lambda: size)
        monkeypatch.setattr(distributed, "all_gather_object", self.all_gather)
        monkeypatch.setattr(distributed, "gather_object", self.gather)

    def all_gather(self, value):
        self.sent[self.local.rank] = value
        self.barrier.wait(60)
        values = list(self.sent)
        self.barrier.wait(60)
        return values

    def gather(self, value, to):
        values = self.all_gather(value)
        return values if self.local.rank == to else []

    def run(self, work):
        """What each rank gives."""
        results = [None] * self.size

        def one(rank):
            self.local.rank = rank
            results[rank] = work(rank)

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 7, 33, 70])
def test_every_batch_has_one_rank_and_the_first_rank_has_the_fewest(ranks, count, monkeypatch):
    shares = Ranks(ranks, monkeypatch).run(lambda rank: own_share(range(count)))
    assert sorted(number for share in shares for number in share) == list(range(count))
    assert len(shares[0]) == min(map(len, shares)) and max(map(len, shares)) - len(shares[0]) <= 1


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 5, 33, 70])
def test_each_head_is_given_the_results_of_all_batches_in_their_order(ranks, count, monkeypatch):
    """Two heads, measured by different ranks where there are two; every third batch has images of one of them alone."""

    def work(rank):
        taken = {"a": [], "b": []}
        results = (dict.fromkeys("b" if number % 3 == 0 else "ab", number) for number in own_share(range(count)))

        def part_for(result, to):
            return {head: value for head, value in result.items() if measuring_rank("ab".index(head)) == to}

        def take(part):
            for head, value in part.items():
                taken[head].append(value)

        collect_in_order(count, results, part_for, take)
        return taken

    found = Ranks(ranks, monkeypatch).run(work)
    assert found[-1 % ranks]["a"] == [number for number in range(count) if number % 3]
    assert found[-2 % ranks]["b"] == list(range(count))
    lists = [values for taken in found for values in taken.values() if values]
    assert len(lists) == 1 + (count > 1), "nobody else is given any"
