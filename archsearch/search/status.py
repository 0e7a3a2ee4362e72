"""Where a study stands, as JSON and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archsearch.search.front import front, hypervolume_history, knee

if TYPE_CHECKING:
    from archsearch.search.study import Study

SCHEMA = "archsearch.search_status/1"


def status_json(study: Study) -> dict[str, Any]:
    """Counts, front size, knee and hypervolume, and how the study came about."""
    config = study.config
    names = config.objectives
    members = front(study.trials, names)
    chosen = knee(members, names)
    history = hypervolume_history(study.trials, names, 1)
    distinct = sum(trial.duplicate_of is None for trial in study.trials)
    return {
        "schema": SCHEMA,
        "study": study.name,
        "space": config.space.name,
        "candidates": config.space.size,
        "objectives": list(names),
        "constraints": list(config.constraints),
        "tables": [{"name": table.name, "provenance": table.provenance} for table in config.tables],
        "strategy": config.strategy,
        "seed": config.seed,
        "trials": len(study.trials),
        "budget": config.trials,
        "finished": len(study.trials) >= config.trials or distinct >= config.space.size,
        "distinct": distinct,
        "feasible": sum(trial.feasible for trial in study.trials if trial.duplicate_of is None),
        "without_score": sum(trial.vector(names) is None for trial in study.trials),
        "front": [trial.number for trial in members],
        "knee": chosen.number if chosen else None,
        "hypervolume": history[-1][1] if history else 0.0,
        "created": config.created,
        "latest": study.trials[-1].finished if study.trials else None,
        "versions": dict(config.versions),
    }


def status_lines(study: Study) -> list[str]:
    """The same in words."""
    s = status_json(study)
    state = "finished" if s["finished"] else f"{s['budget'] - s['trials']} to go"
    lines = [
        f"study {s['study']}: space {s['space']}, {s['candidates']:,} candidates, {s['strategy']}, seed {s['seed']}",
        f"  trials     {s['trials']} of {s['budget']} ({state}), {s['distinct']} distinct candidates",
        f"  minimises  {', '.join(s['objectives'])}",
    ]
    if s["constraints"]:
        lines.append(f"  subject to {', '.join(s['constraints'])}: {s['feasible']} candidates meet that")
    for table in study.config.tables:
        kind = {"measured": "measured on", "mixed": "partly modelled, for"}.get(table.provenance, "modelled, not "
                                                                                "measured, for")  # fmt: skip
        lines.append(f"  latency    {table.name}: {kind} {table.configuration}")
    if s["without_score"]:
        lines.append(f"  no number  {s['without_score']} trials lack a finite objective")
    lines.append(f"  front      {len(s['front'])} candidates, hypervolume {s['hypervolume']:.4f} "
                 "(objectives scaled to the range of the feasible trials, reference 1.1)")  # fmt: skip
    return lines
