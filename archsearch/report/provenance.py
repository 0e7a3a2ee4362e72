"""Where the numbers of a study come from: what was counted, measured, modelled or scored, with what, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archsearch.report.numbers import when

if TYPE_CHECKING:
    from archsearch.search.study import Study


@dataclass(frozen=True, slots=True)
class Origin:
    """One thing and how it came about."""

    what: str
    how: str


def provenance(study: Study) -> tuple[Origin, ...]:
    """Everything needed to judge the page's numbers, and to make them again."""
    config = study.config
    c: dict[str, Any] = {
        "latent": ["?", "?"],
        "text": "?",
        "batch": 1,
        "passes": 1,
        "precision": "fp32",
        "attention": "unfused",
    }
    c |= config.conditions
    version = config.versions.get("archsearch", "unknown")
    counted = f"counted exactly by archsearch {version} from the architecture"
    origins = [
        Origin("Parameters, MACs, model size, peak activation memory", counted),
        Origin(
            "Conditions",
            f"latent {c['latent'][0]}×{c['latent'][1]}, {c['text']} text tokens, batch {c['batch']}, guidance passes "
            f"{c['passes']}; bytes at {c['precision']}, {c['attention']} attention",
        ),
    ]
    for table in config.tables:
        kinds = {"measured": "operators measured on the device", "modelled": "operators modelled, not measured",
                 "mixed": "some operators measured on the device, the others modelled"}  # fmt: skip
        origins.append(
            Origin(
                f"Latency on {table.name}",
                f"predicted as a sum over operators from latency table {table.name} ({table.configuration}; "
                f"{table.date}; {kinds.get(table.provenance, table.provenance)}; sha256 {table.sha256[:12]})",
            )
        )
    if config.quality is not None:
        origins.append(
            Origin(
                "Validation loss",
                f"{config.quality.description} (run {config.quality.run}, sha256 {config.quality.sha256[:12]}); an "
                "estimate of image quality with shared weights, not the result of a full training",
            )
        )
    origins += [
        Origin("Space", f"{config.space.name}, {config.space.size:,} candidates (sha256 {config.space.sha256[:12]})"),
        Origin("Baseline", "the space's defaults, which are trial 0"),
        Origin(
            "Search",
            f"{config.strategy}, seed {config.seed}, population {config.population}; minimises "
            f"{', '.join(config.objectives)}"
            + (f"; subject to {', '.join(config.constraints)}" if config.constraints else ""),
        ),
        Origin("Hypervolume", "each objective scaled to the range of the feasible trials, reference point 1.1 in each"),
        Origin(
            "Dates",
            f"begun {when(config.created)}"
            + (f", latest trial {when(study.trials[-1].finished)}" if study.trials else ""),
        ),
        Origin("Versions", ", ".join(f"{name} {found}" for name, found in config.versions.items())),
    ]
    return tuple(origins)
