"""Shards: work that the jobs of a cluster's array divide among themselves, by name, without talking to each other."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from foundationx.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several shares of the work.

    Attributes:
        number: Number of the shard, from 1.
        count: Number of shards.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads ``3/8``. Raises ConfigError if it is not of that form."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            expected = "a shard and the number of shards, from 1/8 to 8/8"
            raise ConfigError("--shard", f"is {text!r}", expected, "write it as --shard 3/8")
        return shard

    def has(self, name: str) -> bool:
        """Whether the shard has the item of this name; every name is in exactly one of the shards."""
        return zlib.crc32(name.encode("utf-8", "surrogateescape")) % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}-of-{self.count}"
