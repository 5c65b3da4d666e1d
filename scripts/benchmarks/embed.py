"""Compare t-SNE with scikit-learn's, and with openTSNE's if it is installed, on a run's features.

Seconds, exact KL divergence on one shared P, and map quality; same perplexity, same number of
steps. Each map is made in a process of its own, in alternation; neighbors and initialization
count, imports do not. scikit-learn and openTSNE use all cores and a PCA initialization, and
otherwise their defaults.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.harness import Table, measure_alternately, print_machine, run_child, summarize

PERPLEXITY, EARLY_STEPS, K = 30.0, 250, 10
HEADERS = ("", "seconds", "ratio", "KL", "kNN accuracy", "trustworthiness")
MORE_HEADERS = (f"neighborhood preservation@{K}", "silhouette")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=750)


def cnnlab_tsne(x: np.ndarray, steps: int) -> np.ndarray:
    import torch

    from cnnlab.projection.knn import PointSet
    from cnnlab.projection.pca import principal_components
    from cnnlab.projection.tsne import tsne

    noise = torch.randn(len(x), 2, generator=torch.Generator().manual_seed(0))
    settings: dict[str, Any] = {
        "perplexity": PERPLEXITY,
        "early_steps": EARLY_STEPS,
        "early_exaggeration": 12.0,
        "lr": None,
    }
    points = torch.from_numpy(x)
    start = principal_components(points, 2)[0]
    return tsne(PointSet(points), start, noise, None, steps=steps, **settings)[0].numpy()


def scikit_learn_tsne(x: np.ndarray, steps: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    max_iter = EARLY_STEPS + steps
    estimator = TSNE(
        perplexity=PERPLEXITY, init="pca", random_state=0, max_iter=max_iter, n_jobs=-1
    )
    return estimator.fit_transform(x)


def open_tsne(x: np.ndarray, steps: int) -> np.ndarray:
    from openTSNE import TSNE

    estimator = TSNE(
        perplexity=PERPLEXITY,
        early_exaggeration_iter=EARLY_STEPS,
        n_iter=steps,
        n_jobs=os.cpu_count() or 1,
        random_state=0,
    )
    return np.asarray(estimator.fit(x), dtype=np.float32)


TSNE_FUNCTIONS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "cnnlab": cnnlab_tsne,
    "scikit-learn": scikit_learn_tsne,
    "openTSNE": open_tsne,
}
MODULES = {
    "cnnlab": "cnnlab.projection",
    "scikit-learn": "sklearn.manifold",
    "openTSNE": "openTSNE",
}


def measure_in_child(name: str, folder: str, steps: int) -> None:
    """Map x.npy to NAME.npy in the folder; print the seconds."""
    import_module(MODULES[name])
    x = np.load(Path(folder) / "x.npy")
    start = perf_counter()
    y = TSNE_FUNCTIONS[name](x, steps)
    print(perf_counter() - start)
    np.save(Path(folder) / f"{name}.npy", y)


def measure_seconds(name: str, folder: str, steps: int) -> float:
    """Return the seconds of a map, made in a process of its own, as `cnnlab embed` sets it up."""
    environment = {"OMP_WAIT_POLICY": "passive"} if name == "cnnlab" else {}
    return float(run_child("embed", environment=environment, name=name, folder=folder, steps=steps))


def extract_test_features(run_name: str, n: int) -> tuple[Any, Any]:
    """Return a run's penultimate features of its test images, (N, D), and their labels."""
    import torch

    from cnnlab.tasks.embed.features import extract_features, layer_extractor
    from cnnlab.tasks.embed.images import select_images
    from cnnlab.tasks.trained_run import load_run

    trained, device = load_run(run_name), torch.device("cpu")
    extract, _ = layer_extractor(trained.model, trained.prepare_input, None, has_class_logits=True)
    images = select_images("test", n, 0, trained, None, device)
    features = extract_features(images.iterate_batches(), extract, device)
    return features.features, features.labels


def score_maps(x: Any, labels: Any, folder: Path, names: list[str]) -> dict[str, dict[str, float]]:
    """Return the quality of every map by the same measures."""
    import torch

    from cnnlab.projection.knn import PointSet, find_neighbors
    from cnnlab.projection.quality import (
        knn_accuracy,
        neighbor_overlap,
        silhouette,
        trustworthiness,
    )
    from cnnlab.projection.tsne import compute_affinities, kl_divergence

    points = PointSet(x)
    P, near = compute_affinities(points, PERPLEXITY), points.kneighbors(K)[1]
    accuracy = knn_accuracy(near, labels)
    print(f"features: kNN accuracy {accuracy:.4f}, silhouette {silhouette(x, labels):.3f}")
    scores = {}
    for name in names:
        y = torch.from_numpy(np.load(folder / f"{name}.npy"))
        near_on_map = find_neighbors(y, K)[1]
        scores[name] = {
            "kl": kl_divergence(P, y),
            "knn_accuracy": knn_accuracy(near_on_map, labels),
            "trustworthiness": trustworthiness(x, near_on_map),
            "neighborhood_preservation": neighbor_overlap(near, near_on_map),
            "silhouette": silhouette(y, labels),
        }
    return scores


def run(options: argparse.Namespace) -> dict[str, Any]:
    names = [name for name, module in MODULES.items() if find_spec(module.split(".")[0])]
    x, labels = extract_test_features(options.run, options.n)
    print_machine(
        f"{len(x):,} points with {x.shape[1]:,} features, perplexity {PERPLEXITY:g}",
        f"{EARLY_STEPS} + {options.steps} steps, {options.rounds} rounds",
    )
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", x.numpy())
        candidates = {name: partial(measure_seconds, name, folder, options.steps) for name in names}
        seconds = summarize(measure_alternately(candidates, options.rounds), "cnnlab")
        scores = score_maps(x, labels, Path(folder), names)
    table = Table(*HEADERS, *MORE_HEADERS)
    for name, row in seconds.items():
        values = [f"{scores[name][key]:.4f}" for key in ("kl", "knn_accuracy", "trustworthiness")]
        shares = [f"{scores[name][key]:.3f}" for key in ("neighborhood_preservation", "silhouette")]
        taken = f"{row['median']:.1f} ({row['min']:.1f} to {row['max']:.1f})"
        table.add(name, taken, f"{row.get('ratio', 1):.2f}", *values, *shares)
    return {"n": len(x), "seconds": seconds, "maps": scores}
