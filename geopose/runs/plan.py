"""A list of variants of a training, as `geopose compare` reads it, and the trainings that it asks for."""

import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from omegaconf import OmegaConf

from geopose.cli import UserError
from geopose.config import read_yaml

EXAMPLE = "see configs/ablation/lite0.yaml"


@dataclass(frozen=True)
class Variant:
    """settings: key=value words on top of the budget. before: a geopose command that makes the data of the training.

    run: a finished run, which is predicted and scored as it is.
    """

    name: str
    config: str
    settings: list[str] = field(default_factory=list)
    before: str = ""
    run: str | None = None


@dataclass(frozen=True)
class Finals:
    """More seeds for the variants with the best scores among some, after all variants have been scored."""

    seeds: list[int] = field(default_factory=list)
    best: int = 0
    among: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """The whole list. budget: settings for all variants. predict: flags of the predict command."""

    config: str
    budget: list[str]
    variants: list[Variant]
    predict: list[str] = field(default_factory=lambda: ["--tta", "none"])
    seeds: list[int] = field(default_factory=lambda: [42])
    finals: Finals = Finals()


@dataclass(frozen=True)
class Place:
    """Where the data of trainings is and where their runs go.

    A list may write {data}, {test}, {unlabelled}, {runs} and {folds_folder}, the folder of the file folds. test: a
    competition folder whose test half is scored. unlabelled: a folder of images, or None.
    """

    data: str
    folds: str
    fold: int
    test: str
    unlabelled: str | None
    runs: Path

    def fill(self, word: str) -> str:
        """A word with {data} and so on replaced. Other braces stay. Raises UserError for what was not given."""
        for name, value in (asdict(self) | {"folds_folder": Path(self.folds).parent}).items():
            if f"{{{name}}}" in word:
                if value is None:
                    raise UserError(f"{word}: give --{name} DIR, or leave the variant out by --without")
                word = word.replace(f"{{{name}}}", str(value))
        return word


@dataclass(frozen=True)
class Job:
    """A variant with a seed. overrides are all key=value settings of the training.

    before: the words of a geopose command, or none. run_dir: the run. folder: what its predictions go into.
    """

    variant: Variant
    seed: int
    before: list[str]
    overrides: list[str]
    run_dir: Path
    folder: Path


def read_plan(path: str | Path, without: Iterable[str] = ()) -> Plan:
    """The list of a YAML file without some of its variants. Raises UserError for unknown keys and names.

    A variant is a list of settings, or a mapping with the fields of Variant.
    """
    listed = OmegaConf.to_container(read_yaml(path, EXAMPLE))
    refuse_odd_keys(str(path), listed, Plan, {"config", "budget", "variants"})
    if not isinstance(listed["variants"], dict):
        raise UserError(f"{path}: variants must have names, each with its settings; {EXAMPLE}")
    variants = {}
    for name, given in listed["variants"].items():
        row = given if isinstance(given, dict) else {"settings": given}
        refuse_odd_keys(f"{path}: {name}", row, Variant)
        if not isinstance(row.get("settings", []), list):
            raise UserError(f"{path}: {name}: its settings must be a list, [] for none; {EXAMPLE}")
        variants[name] = Variant(**{"name": name, "config": listed["config"]} | row)
    finals = listed.get("finals", {})
    refuse_odd_keys(f"{path}: finals", finals, Finals)
    for name in (*without, *finals.get("among", ())):
        if name not in variants:
            raise UserError(f"{path}: no variant is named {name}; there are {', '.join(variants)}")
    kept = [variant for name, variant in variants.items() if name not in without]
    if not kept:
        raise UserError(f"{path}: no variant is left to train; list one, or shorten --without")
    return Plan(**listed | {"variants": kept, "finals": Finals(**finals)})


def refuse_odd_keys(where: str, given: dict, kind: type, needed: Iterable[str] = ()) -> None:
    """Raise UserError for keys that are no field of a dataclass, and for needed ones that are missing."""
    odd = sorted(set(given) - set(kind.__dataclass_fields__) | set(needed) - set(given))
    if odd:
        raise UserError(f"{where}: missing or unknown keys {', '.join(odd)}; {EXAMPLE}")


def list_jobs(plan: Plan, variants: list[Variant], seeds: list[int], place: Place) -> list[Job]:
    """One job per seed and variant, except that a finished run has one job.

    The folder is named after the variant and, unless the seed is the plan's only one, after the seed.
    """
    jobs = []
    data = [f"data.root={place.data}", f"data.folds={place.folds}", f"data.fold={place.fold}"]
    for seed in seeds:
        for variant in variants:
            folder = place.runs / (variant.name if plan.seeds == [seed] else f"{variant.name}-seed{seed}")
            run_dir = Path(variant.run) if variant.run else folder / f"fold{place.fold}"
            settings = [*data, f"run.dir={run_dir}", f"seed={seed}", *plan.budget, *variant.settings]
            before, overrides = (list(map(place.fill, words)) for words in (shlex.split(variant.before), settings))
            if seed == seeds[0] or not variant.run:
                jobs.append(Job(variant, seed, before, overrides, run_dir, folder))
    return jobs


def best_variants(plan: Plan, scores: dict[str, float]) -> list[Variant]:
    """The variants of the finals, the best one first. scores: that of each variant that has been scored."""
    contenders = [variant for variant in plan.variants if variant.name in plan.finals.among and variant.name in scores]
    return sorted(contenders, key=lambda variant: scores[variant.name], reverse=True)[: plan.finals.best]
