"""What diffusers itself builds from a config: the independent reference of the counts."""

from __future__ import annotations

from typing import Any, NamedTuple

TEXT = 7


class Reference(NamedTuple):
    """Parameters and multiply-accumulates of a module."""

    params: int
    macs: int


def diffusers_reference(config: dict[str, Any], latent: tuple[int, int], added: tuple[int, int] | None) -> Reference:
    """Build on the meta device, run once under ``FlopCounterMode``.

    Args:
        config: with ``_class_name``.
        latent: height and width.
        added: (pooled width, number of ids) of the added embedding.
    """
    import diffusers
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(1)
    cls = getattr(diffusers, config["_class_name"])
    with torch.device("meta"), torch.no_grad():
        model = cls(**{key: value for key, value in config.items() if not key.startswith("_")}).eval()
        width = config.get("encoder_hid_dim") or config["cross_attention_dim"]
        kwargs: dict[str, Any] = {"encoder_hidden_states": torch.empty(1, TEXT, width)}
        if config.get("time_cond_proj_dim"):
            kwargs["timestep_cond"] = torch.empty(1, config["time_cond_proj_dim"])
        if added is not None:
            pooled, ids = added
            kwargs["added_cond_kwargs"] = {"text_embeds": torch.empty(1, pooled), "time_ids": torch.empty(1, ids)}
        counter = FlopCounterMode(display=False)
        with counter:
            model(torch.empty(1, config["in_channels"], *latent), torch.empty(1), **kwargs)
    params = sum(p.numel() for p in model.parameters())
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return Reference(params, flops // 2)
