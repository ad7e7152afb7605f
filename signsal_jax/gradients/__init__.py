"""Gradients of a classifier's class scores with respect to its images."""

from signsal_jax._types import ClassExtrema as ClassExtrema
from signsal_jax.gradients._blur import (
    blur_integrated_gradients as blur_integrated_gradients,
)
from signsal_jax.gradients._cam import (
    grad_cam as grad_cam,
    hires_cam as hires_cam,
    layer_cam as layer_cam,
)
from signsal_jax.gradients._chunks import resolve_chunk as resolve_chunk
from signsal_jax.gradients._completeness import completeness_gap as completeness_gap
from signsal_jax.gradients._contrast import (
    CONTRASTS as CONTRASTS,
    contrast_gradient as contrast_gradient,
    contrast_gradients as contrast_gradients,
    contrast_weights as contrast_weights,
)
from signsal_jax.gradients._cut import Cut as Cut, narrowest_cut as narrowest_cut
from signsal_jax.gradients._estimator import (
    Estimator as Estimator,
    Pullback as Pullback,
    describe as describe,
    has_sign as has_sign,
    require_linear as require_linear,
)
from signsal_jax.gradients._expected import expected_gradients as expected_gradients
from signsal_jax.gradients._extrema import (
    class_extrema as class_extrema,
    target_extrema as target_extrema,
    target_gradient as target_gradient,
)
from signsal_jax.gradients._factor_statistics import (
    class_gram as class_gram,
    factor_gram as factor_gram,
    factor_norms as factor_norms,
    factor_sign_agreement as factor_sign_agreement,
    feature_gram as feature_gram,
)
from signsal_jax.gradients._factors import (
    Factors as Factors,
    compute_factors as compute_factors,
    head_weights as head_weights,
    in_groups as in_groups,
)
from signsal_jax.gradients._features import feature_extrema as feature_extrema
from signsal_jax.gradients._full_grad import full_grad as full_grad
from signsal_jax.gradients._gradient_x_input import gradient_x_input as gradient_x_input
from signsal_jax.gradients._guided_path import (
    guided_integrated_gradients as guided_integrated_gradients,
)
from signsal_jax.gradients._hosted import HostedExtrema as HostedExtrema
from signsal_jax.gradients._hosted_features import HostedFeatures as HostedFeatures
from signsal_jax.gradients._jacobian import signed_jacobian as signed_jacobian
from signsal_jax.gradients._linearize import (
    CPU_CLASSES as CPU_CLASSES,
    linearize as linearize,
    same_class_gradients as same_class_gradients,
)
from signsal_jax.gradients._lrp import LRP_RULES as LRP_RULES, lrp as lrp
from signsal_jax.gradients._lrp_operations import (
    LrpRule as LrpRule,
    register_lrp_rule as register_lrp_rule,
)
from signsal_jax.gradients._masked import occlusion as occlusion, rise as rise
from signsal_jax.gradients._mean_of import mean_of as mean_of
from signsal_jax.gradients._named import (
    NAMES as NAMES,
    EstimatorConfig as EstimatorConfig,
    named_estimator as named_estimator,
)
from signsal_jax.gradients._path import (
    integrated_gradients as integrated_gradients,
    path_gradient as path_gradient,
)
from signsal_jax.gradients._plain import OUTPUTS as OUTPUTS, plain as plain
from signsal_jax.gradients._relu import (
    deconvnet as deconvnet,
    guided_backprop as guided_backprop,
    rect_grad as rect_grad,
)
from signsal_jax.gradients._running import nan_where_not_finite as nan_where_not_finite
from signsal_jax.gradients._sharded import (
    sharded_extrema as sharded_extrema,
    split_extrema as split_extrema,
)
from signsal_jax.gradients._smooth import smooth_grad as smooth_grad
from signsal_jax.gradients._squares import (
    smooth_grad_squared as smooth_grad_squared,
    var_grad as var_grad,
)
from signsal_jax.gradients._target import resolve_target as resolve_target
from signsal_jax.gradients._through import (
    THROUGH as THROUGH,
    choose_cut as choose_cut,
    describe_cut as describe_cut,
    group_size as group_size,
    resolve_through as resolve_through,
)
