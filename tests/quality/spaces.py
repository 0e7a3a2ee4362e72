"""A space so small that it can be enumerated and trained within a test."""

from __future__ import annotations

from pathlib import Path

from archsearch.space import Space, load_space

TINY = """
schema: archsearch.space/1
name: tiny
conditions: {latent: [32, 32], text: 16}
decisions:
  bottom: {choices: [8, 16], default: 16}
  separable: {choices: [false, true], default: false}
  attention: {choices: [none, text, full], default: full}
  depth: {range: [0, 2], default: 1}
  expansion: {choices: [1, 2], default: 2}
  shared_kv: {choices: [false, true], default: false}
  outer_residual: {choices: [false, true], default: true}
rules:
  - forbid: {attention: none, depth: 0}
    because: without any transformer the text has no way in
unet:
  in_channels: 3
  out_channels: 3
  conv_in_channels: 4
  text_width: 64
  norm_groups: 4
  time: {input_width: 8, width: 16}
templates:
  residual: {kind: residual, channels: $channels, separable: {switch: $separable_here, cases: {true: {}, false: null}}}
  transformer:
    kind: transformer
    width: $channels
    depth: $depth_here
    block:
      first: {switch: $mode, cases: {text: null, full: {to: self, head_dim: 4, shared_kv: $shared_kv}}}
      second: {to: text, head_dim: 4, shared_kv: $shared_kv}
      feed_forward: {expansion: $expansion}
stages:
  - let: {channels: 4, separable_here: false}
    layers: [{down: [residual], up: [residual]}]
    outer: [residual]
    downsample: {channels: $channels}
  - let: {channels: $bottom, separable_here: $separable, depth_here: 1, mode: $attention}
    layers:
      - down: [residual, {use: transformer, when: {attention: [text, full]}}]
        up: [residual, {use: transformer, when: {attention: [text, full]}}]
    outer: [{use: residual, when: {outer_residual: true}}]
    upsample: {channels: $channels}
middle:
  - {use: transformer, with: {channels: $bottom, mode: full, depth_here: $depth}, when: {depth: [1, 2]}}
"""


def tiny_space(folder: Path) -> Space:
    path = folder / "tiny.yaml"
    path.write_text(TINY)
    return load_space(path)
