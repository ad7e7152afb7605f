"""The content of the explorer's page, as JSON holds it."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from signsal_jax.brightness import GRADIENT
from signsal_jax.data import display_name
from signsal_jax.evaluations import SCORES, WAYS, blur
from signsal_jax.report.explorer.pack import pack_indices, pack_shares, pack_signed
from signsal_jax.report.explorer.subject import BLUR, Deleted, Steps, Subject, View

# Smaller pictures are kept as they are, larger ones as JPEG.
_LOSSLESS_SIDE, _QUALITY = 64, 90
# What a map keeps of the gradient: its color is that of the sign.
_KINDS = {"positive": "positive", "active": "positive", "negative": "negative"}
_KINDS |= {"inactive": "negative", "active_margin": "positive", "inactive_margin": "negative"}


def map_kind(method: str) -> str:
    """The sign of the gradients that a map keeps: "positive", "negative" or, for both, "any"."""
    return _KINDS.get(method) or _KINDS.get(method.rpartition("_")[2], "any")


def subject_content(subject: Subject, cell: int) -> dict[str, Any]:
    """What the page holds of an image.

    Args:
      subject: the image.
      cell: the side of the squares of pixels that become one; 1 keeps every pixel.
    """
    logits = np.asarray(subject.logits, np.float64)
    exponentials = np.exp(logits - logits.max())
    probabilities = exponentials / exponentials.sum()
    height, width = subject.image.shape[:2]
    return {
        "title": subject.title,
        "picture": _picture(subject.image),
        "blurred": _blurred(subject),
        "height": height,
        "width": width,
        "cell": cell,
        "target": subject.classes.tolist().index(subject.target),
        "label": None if subject.label is None else _name(subject, subject.label),
        "count": len(logits),
        "classes": [
            {
                "index": index,
                "name": _name(subject, index),
                "logit": _number(logits[index]),
                "probability": _number(probabilities[index]),
            }
            for index in subject.classes.tolist()
        ],
        "views": [
            {"estimator": name, **_view(subject, view, cell)}
            for name, view in subject.views.items()
        ],
    }


def _name(subject: Subject, index: int) -> str:
    return display_name(subject.names[index])


def _number(value: Any) -> float | None:
    """JSON has no NaN."""
    return float(value) if np.isfinite(value) else None


def _view(subject: Subject, view: View, cell: int) -> dict[str, Any]:
    signed = [
        {"name": name, "kind": "signed", **pack_signed(_cells(values, cell, "sum"))}
        for name, values in view.signed.items()
        if name != GRADIENT  # one of the class gradients
    ]
    shares = [
        {"name": name, "kind": map_kind(name), **pack_shares(_cells(values, cell, "max"))}
        for name, values in view.maps.items()
    ]
    arrays = [view.gradients, *view.maps.values(), *view.signed.values()]
    return {
        "finite": all(bool(np.isfinite(values).all()) for values in arrays),
        "signed": bool(view.signed),
        "gradients": pack_signed(_cells(view.gradients, cell, "sum")),
        "maps": signed + shares,
        "deleted": None if view.deleted is None else _deleted(subject, view.deleted),
        "steps": None if view.steps is None else _steps(view.steps),
    }


def _deleted(subject: Subject, deleted: Deleted) -> dict[str, Any]:
    others = sorted({*deleted.predicted.ravel().tolist()})
    return {
        "methods": list(deleted.methods),
        "fills": list(deleted.fills),
        "fractions": deleted.fractions.tolist(),
        "first": [pack_indices(first) for first in deleted.first],
        "shares": [
            [round(float((first <= place).mean()), 6) for place in range(len(deleted.fractions))]
            for first in deleted.first
        ],
        "probabilities": np.round(
            np.nan_to_num(deleted.probabilities.astype(np.float64)), 4
        ).tolist(),
        "predicted": deleted.predicted.tolist(),
        "names": {str(index): _name(subject, index) for index in others},
    }


def _steps(steps: Steps) -> dict[str, Any]:
    change = np.nan_to_num(steps.change.astype(np.float64))
    places = [SCORES.index(name) for name in ("logit", "probability")]
    return {
        "methods": list(steps.methods),
        "ways": list(WAYS),
        "epsilons": list(steps.epsilons),
        "change": np.round(change[..., places], 5).tolist(),
        "moved": np.nan_to_num(steps.moved.astype(np.float64)).tolist(),
    }


def _cells(values: np.ndarray, cell: int, how: str) -> np.ndarray:
    """Joins squares of pixels: `[..., h, w]` to `[..., rows, columns]`."""
    if cell == 1:
        return values
    height, width = values.shape[-2:]
    lead = [(0, 0)] * (values.ndim - 2)
    padded = np.pad(values, [*lead, (0, -height % cell), (0, -width % cell)])
    shape = padded.shape
    blocks = padded.reshape(*shape[:-2], shape[-2] // cell, cell, shape[-1] // cell, cell)
    return blocks.sum((-3, -1)) if how == "sum" else blocks.max((-3, -1))


def _blurred(subject: Subject) -> str | None:
    """The image that fills deleted pixels, if the page needs it."""
    found = [view.deleted for view in subject.views.values() if view.deleted is not None]
    if not any(BLUR in deleted.fills for deleted in found):
        return None
    return _picture(np.asarray(blur(np.asarray(subject.image)[None])[0]))


def _picture(image: np.ndarray) -> str:
    """A picture as an address of its own data; channels that are not colors become gray."""
    pixels = np.nan_to_num(np.asarray(image, np.float32))
    if pixels.shape[-1] != 3:
        pixels = pixels.mean(-1)
    picture = Image.fromarray(np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8))
    file, small = io.BytesIO(), max(picture.size) <= _LOSSLESS_SIDE
    if small:
        picture.save(file, "PNG")
    else:
        picture.save(file, "JPEG", quality=_QUALITY, subsampling=0)
    text = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{'png' if small else 'jpeg'};base64,{text}"
