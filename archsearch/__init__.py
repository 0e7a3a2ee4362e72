"""archsearch: find and explain efficient text-to-image UNets for phones."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """``archsearch.UNetModel``, loaded when asked for: diffusers' pipelines look their parts up here."""
    if name == "UNetModel":
        from archsearch.models.unet import UNetModel

        return UNetModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
