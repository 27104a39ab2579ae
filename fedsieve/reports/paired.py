"""What a setting gains over another where both ran on the same data: runs paired by seed, clients by id."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from fedsieve.keys import Changes, fields, keys_that_change
from fedsieve.reports.settings import Setting
from fedsieve.reports.words import format_count
from fedsieve.runs.data_record import fingerprint_of
from fedsieve.runs.reading import RunRecord

DATA = keys_that_change(Changes.DATA)


@dataclass(frozen=True)
class Pairing:
    """How one setting does against another, in points of test accuracy at each run's best round.

    Attributes:
        seeds: of which both have a run.
        by_seed: of each, the mean difference over the clients that both runs have tested.
        clients: pairs of one client in both runs, over all seeds; `better`, in how many the first does better.
        reason: why there are no pairs, one clause; empty where there are.
    """

    seeds: list[int]
    by_seed: list[float]
    clients: int
    better: int
    reason: str = ""

    @property
    def difference(self) -> str:
        """Mean and deviation over seeds, or one seed's difference."""
        if not self.by_seed:
            return "-"
        mean = f"{fmean(self.by_seed):+.1f}"
        return mean if len(self.by_seed) < 2 else f"{mean} ± {stdev(self.by_seed):.1f}"

    @property
    def counts(self) -> str:
        """How many runs and clients were paired."""
        return f"{format_count(len(self.by_seed), 'seed')}, {format_count(self.clients, 'client')}"


def pair_runs(setting: Setting, other: Setting) -> Pairing:
    """Pair the runs of two settings; `by_seed` is `setting` less `other`."""
    one, two = _index_by_seed(setting), _index_by_seed(other)
    seeds = [seed for seed in one if seed in two]
    if not seeds:
        return Pairing([], [], 0, 0, "they have no seed in common")
    differing = next((key for seed in seeds if (key := find_other_data(one[seed], two[seed]))), None)
    if differing:
        return Pairing([], [], 0, 0, f"their clients do not hold the same data (they differ in {differing})")
    by_seed: dict[int, list[float]] = {}
    for seed in seeds:
        mine, theirs = one[seed].accuracies, two[seed].accuracies
        if gains := [100 * (mine[client] - theirs[client]) for client in mine if client in theirs]:
            by_seed[seed] = gains
    if not by_seed:
        return Pairing([], [], 0, 0, "no client was tested in both")
    gains = [gain for each in by_seed.values() for gain in each]
    better = sum(gain > 0 for gain in gains)
    return Pairing(list(by_seed), [fmean(each) for each in by_seed.values()], len(gains), better)


def pair_with_first(settings: Sequence[Setting]) -> list[Pairing]:
    """Return how each setting but the first does against the first."""
    return [pair_runs(setting, settings[0]) for setting in settings[1:]]


def find_repeated_seeds(setting: Setting) -> list[int]:
    """Return the seeds of which the setting has several runs; the last is the one that is paired."""
    seeds = Counter(int(run.summary["seed"]) for run in setting.runs)
    return [seed for seed, count in seeds.items() if count > 1]


def _index_by_seed(setting: Setting) -> dict[int, RunRecord]:
    return {int(run.summary["seed"]): run for run in setting.runs}


def find_other_data(one: RunRecord, other: RunRecord) -> str:
    """Return a key that gives the two runs' clients other data, "" where none does."""
    mine, theirs = _describe_data(one), _describe_data(other)
    return next((key for key, value in mine.items() if theirs.get(key) != value), "")


def _describe_data(run: RunRecord) -> dict[str, object]:
    summary = run.summary
    data = fingerprint_of(run.folder)
    known = {
        "dataset": run.dataset if data is None else data,
        "partition": summary["partition"],
        "num-clients": summary["num_clients"],
    }
    held = {key: known.get(key, run.keys.get(key)) for key in fields() if key in DATA}
    drawn_by = held.pop("data-seed") or summary["seed"]
    return held | {"seed": drawn_by}
