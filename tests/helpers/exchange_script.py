"""One rank of a small job that counts its messages, by step.

    torchrun --nproc-per-node 2 tests/helpers/exchange_script.py DATA OUT [KEY=VALUE ...]

The first process writes, as JSON: of every step the head, phase, all messages and those that carry gradients, and the
bytes of these, and the sizes of the parameters in each bucket; of the end, digests of weights on every rank.
"""

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from foundationx.core import distributed
from foundationx.engine import exchange
from tests.helpers.survival import tiny_trainer

LOCAL = ("wait", "split", "cat")


def digest(model):
    values = hashlib.sha256()
    for tensor in model.state_dict().values():
        values.update(tensor.contiguous().numpy().tobytes())
    return values.hexdigest()


def counted(trainer, steps):
    """Every step of the trainer under torch's profiler, which sees whatever torch sends."""
    run_step, send = trainer._run_step, exchange._send_bucket
    sent, buckets = [], []

    def count_bucket(state, bucket):
        buffer = bucket.buffer()
        compressed = state.is_compressed and not bucket.is_last()
        sent.append(buffer.numel() * (2 if compressed else buffer.element_size()))
        buckets.append([list(parameter.shape) for parameter in bucket.parameters()])
        return send(state, bucket)

    def count(phase, source):
        sent.clear(), buckets.clear()
        with profile(activities=[ProfilerActivity.CPU]) as traced:
            run_step(phase, source)
        names = Counter(event.name for event in traced.events() if event.name.startswith("c10d::"))
        row = {"head": str(phase.key), "phase": phase.name.value, "first": trainer.step == phase.first_step + 1}
        row |= {"messages": dict(names), "gradients": len(sent), "bytes": sum(sent)}
        steps.append(row | {"buckets": list(buckets)})

    exchange._send_bucket = count_bucket
    trainer._run_step = count


def main(data: str, out: str, *options: str) -> None:
    torch.set_num_threads(1)
    settings = dict(option.split("=") for option in options)
    settings = {name: int(value) if value.isdecimal() else value for name, value in settings.items()}
    with distributed.init_process_group():
        trainer = tiny_trainer(Path(data), Path(out).parent / f"rank {distributed.rank()}", **settings)
        steps: list[dict] = []
        counted(trainer, steps)
        trainer.train()
        digests = distributed.all_gather_object((digest(trainer.model), digest(trainer.teacher.model)))
        if distributed.is_main_process():
            Path(out).write_text(json.dumps({"steps": steps, "digests": digests}))


if __name__ == "__main__":
    main(*sys.argv[1:])
