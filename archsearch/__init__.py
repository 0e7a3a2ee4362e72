"""archsearch: find and explain efficient text-to-image UNets for phones."""

__version__ = "0.1.0"
