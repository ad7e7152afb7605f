"""Folders as `signsal explain` leaves them, made of random numbers, without a network."""

import json

import numpy as np

from signsal_jax.report import explorer

SIDE, CLASSES = 4, ("cat", "dog", "eel")


def found(seed, target=0, scale=1.0):
    """Class gradients of a random image."""
    rng = np.random.default_rng(seed)
    image = rng.random((SIDE, SIDE, 3)).astype(np.float32)
    gradients = scale * rng.standard_normal((3, SIDE, SIDE)).astype(np.float32)
    logits = np.asarray([3.0, 2.0, 1.0])
    return explorer.ClassGradients(image, CLASSES, logits, target, np.arange(3), gradients)


def folder(path, estimator, names, *, more=0, network="toy", **made):
    """A folder of pictures with these names, and `more` without class gradients."""
    path.mkdir()
    entries = []
    for seed, name in enumerate(names):
        explorer.save(path / f"{name}.classes.npz", found(seed, **made))
        np.savez(path / f"{name}.npz", vanilla=np.zeros((SIDE, SIDE)))
        files = {"classes": f"{name}.classes.npz", "maps": f"{name}.npz"}
        entries.append({"image": f"photos/{name}", "sha256": name, **files})
    entries += [{"image": f"photos/{n}", "sha256": str(n), "classes": None} for n in range(more)]
    results = {
        "configuration": {"rivals": ["all"]},
        "network": {"model": network},
        "estimator": {"name": estimator},
        "versions": {},
        "images": entries,
    }
    (path / "results.json").write_text(json.dumps(results))
    return path
