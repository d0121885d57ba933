"""Signal and noise of gradients."""

from __future__ import annotations

import dataclasses
import math

import pytest

from benchmarks.ablation import gradients
from benchmarks.ablation.files import write_json
from benchmarks.ablation.gradients import compare, jackknife, squared_noise, squared_signal
from benchmarks.ablation.intervals import estimate


PAIRS_OF_MASKS = ("off off", "lines lines", "lines off", "random random", "off random")


def products_of(gradients, others):
    return [[sum(a * b for a, b in zip(one, other, strict=True)) for other in others] for one in gradients]


def test_squared_signal_is_mean_product_of_different_batches():
    products = products_of([(1.0, 0.0), (3.0, 4.0), (0.0, 2.0)], [(1.0, 0.0), (3.0, 4.0), (0.0, 2.0)])

    # Products of pairs: 3, 0 and 8. Squared norms: 1, 25 and 4.
    assert squared_signal(products) == pytest.approx(11 / 3)
    assert squared_noise(products) == pytest.approx(10 - 11 / 3)
    assert squared_signal(products, without=1) == 0


def test_masking_noise_is_a_gain_and_scaling_is_not():
    signal, noise = 1.0, (0.5, -0.5, 0.3, -0.3)
    all_tokens = [(signal, -2 * one, one) for one in noise]
    masked = [(3 * signal, 0.0, 3 * one) for one in noise]
    products = {"off off": products_of(all_tokens, all_tokens), "lines lines": products_of(masked, masked)}
    products["lines off"] = products_of(masked, all_tokens)

    gain = compare(products, "lines")["gain"]

    # Four fifths of the noise are in the masked coordinate. The estimated signals differ a little.
    noises = [squared_noise(products[name]) for name in ("off off", "lines lines")]
    assert noises[1] / noises[0] == pytest.approx(9 / 5)
    assert gain["mean"] > 5
    assert gain["low"] < gain["mean"] < gain["high"]
    assert compare(products, "off")["cosine"]["mean"] == 1.0
    assert compare(products, "off")["gain"]["mean"] == 1.0


def test_cosine_of_gradients_with_another_direction():
    noise = (0.5, -0.5, 0.3, -0.3)
    all_tokens, masked = [(1.0, 0.0, one) for one in noise], [(1.0, 1.0, one) for one in noise]
    products = {"off off": products_of(all_tokens, all_tokens), "lines lines": products_of(masked, masked)}
    products["lines off"] = products_of(masked, all_tokens)

    # Products of different batches of the noise have the mean -0.68 / 12.
    shared = 1 - 0.68 / 12
    assert compare(products, "lines")["cosine"]["mean"] == pytest.approx(shared / math.sqrt(shared * (1 + shared)))


def test_gradients_are_tabled_by_setting_and_mask(tmp_path):
    vectors = [(1.0, 0.5), (1.0, -0.5), (1.0, 0.1)]
    products = {pair: products_of(vectors, vectors) for pair in PAIRS_OF_MASKS}
    path = gradients._path("smoke", "start", 3, tmp_path, seed=0)
    write_json(path, {"updates": 6, "unexecuted_share": 0.25, "products": products})

    findings = gradients.collect(tmp_path / "gradients.json", tmp_path, 3)

    row = "| smoke, start | 1 | 25 % | lines | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] |"
    assert findings["smoke, start"]["seeds"]["0"]["masks"]["lines"]["gain"]["mean"] == 1.0
    assert f"{row} 1.00 [1.00, 1.00] |" in gradients.table(findings)
    # Another machine takes the reported results, unless the probe has changed.
    write_json(tmp_path / "gradients.json", findings)
    assert gradients.collect(tmp_path / "gradients.json", tmp_path / "elsewhere", 3) == findings
    assert gradients.collect(tmp_path / "gradients.json", tmp_path / "elsewhere", 4) == {}


def test_jackknife_of_mean_equals_its_interval():
    numbers = [1.0, 2.0, 4.0]

    def mean(left_out):
        kept = [number for place, number in enumerate(numbers) if place != left_out]
        return sum(kept) / len(kept)

    assert dataclasses.astuple(jackknife(mean, 3)) == pytest.approx(dataclasses.astuple(estimate(numbers)))
