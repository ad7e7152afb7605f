"""The one call most people need: a classifier and images in, signed saliency maps out."""

from collections.abc import Sequence
from typing import Any

from signsal_jax import _checks
from signsal_jax._methods import METHODS, check_maps, contrasts_of, needs_rivals
from signsal_jax._types import ApplyFn, Images, Variables
from signsal_jax.gradients import THROUGH, Estimator, class_extrema, plain, target_gradient
from signsal_jax.maps import TIES, Saliency, maps_from_extrema
from signsal_jax.scaling import CHANNELS


def saliency_maps(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    methods: Sequence[str] = METHODS,
    target: Any = "predicted",
    rivals: Any = "all",
    output: str = "logits",
    channel: str = "max",
    normalize: bool = True,
    ties: str = "strict",
    class_chunk: int | str | None = None,
    precision: str | None = "highest",
    estimator: Estimator = plain(),
    through: str = "auto",
) -> Saliency:
    """Signed saliency maps from one forward pass: by default the paper's five.

    Pure: wrap it in `jax.jit` (otherwise every call compiles anew), or use it inside your own
    jit, vmap, grad or shard_map. It costs one pullback per class (or per feature, see `through`),
    or a single one if neither active nor inactive is requested. Values known only on the device
    raise no error: an image with a pixel or gradient that is not finite, a NaN logit, or a target
    that is not a class, is flagged in `valid`, and its maps are NaN.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      methods: any of `ALL_METHODS`. `METHODS` are the paper's five: "vanilla", "positive",
        "negative", "active" and "inactive". "active_margin" and "inactive_margin" give the distance
        of the target's gradient to the runner-up's, where it is the highest (the lowest) of all.
        "weighted_contrast", "mean_contrast" and "max_contrast" give the target's gradient minus a
        weighted sum of all others' (see `contrast_weights`), as "..._positive" and
        "..._negative" their positive and negative part; each of the three contrasts takes one more
        pullback.
      target: the class to explain: "predicted", one index for all, or `[b]`, such as labels.
      rivals: the classes that active and inactive compare the target with: "all" others, an
        integer K for the K with the highest logits per image, or a list of class indices. Only
        they and the target are pulled back.
      output: the score that is differentiated: "logits", "log_softmax" or "softmax".
      channel: the reduction over channels: "max" (the paper's), "sum" or "l2" of absolute values,
        or "none" for signed values per channel.
      normalize: scale each image's map to [0, 1] ([-1, 1] with `channel="none"`); otherwise
        maps are in score units per unit of pixel value.
      ties: "strict" (the paper's: a tie with another class loses) or "non-strict".
      class_chunk: classes pulled back at a time, to bound memory; None for all at once, or
        "auto", see `signed_jacobian`.
      precision: of float32 products, see `signed_jacobian`.
      estimator: the gradient method, see `signed_jacobian`.
      through: where the other classes' gradients come from: "scores", "features" or "auto", see
        `class_extrema`.

    Returns:
      `Saliency`: logits, target, and per method the maps `[b, h, w]`, whether each is empty, and
      for active and inactive the runner-up class and the margin to it.

    Raises:
      TypeError, ValueError: a map chosen by sign of an estimator without sign; contrasts of an
        estimator that is not linear, or of another output than logits; images that are not
        floating `[b, h, w, c]` or look like NCHW; logits that are not `[b, k]` with k >= 2; unknown
        methods, output, channel or ties; a target that is not an integer or, as a host value, out
        of range.

    Reference: arXiv 2309.12913, the five maps and their scaling; Wang and Wang, "Why Not Other
    Classes?", NeurIPS 2022, the contrasts.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return jnp.einsum("bhwc,hwk->bk", images, variables)
    >>> weights = jnp.asarray([[[4.0, 1.0], [-1.0, 0.5]]])
    >>> saliency = signsal_jax.saliency_maps(apply_fn, weights, jnp.ones((1, 1, 2, 1)))
    >>> saliency.target.tolist(), saliency.maps["negative"].tolist()
    ([0], [[[0.0, 1.0]]])
    """
    methods = check_maps(methods, estimator)
    _checks.check_member("channel", channel, CHANNELS)
    _checks.check_member("ties", ties, TIES)
    _checks.check_flag("normalize", normalize)
    _checks.check_class_chunk(class_chunk, auto=True)
    _checks.check_member("through", through, THROUGH)
    settings = {
        "target": target,
        "output": output,
        "precision": precision,
        "estimator": estimator,
        "contrasts": contrasts_of(methods),
    }
    if needs_rivals(methods):
        settings |= {"rivals": rivals, "class_chunk": class_chunk, "through": through}
        extrema = class_extrema(apply_fn, variables, images, **settings)
    else:
        extrema = target_gradient(apply_fn, variables, images, **settings)
    return maps_from_extrema(
        extrema, methods=methods, channel=channel, normalize=normalize, ties=ties
    )
