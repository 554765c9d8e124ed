"""The messages of Caffe's files: a network as text, by names alone, and what its weights are found by.

Facts: caffe.proto of Caffe and of its SSD branch, the layers that MindSpore Lite's importer adds, and what Sophgo's
calibration tools add to a layer. A text names its fields, so that their numbers, which the branches use twice, do not
matter; of the weights only names and blobs are read.
"""

from __future__ import annotations

import functools
from typing import Any

from .protobuf import messages

_TEXT = {
    "NetParameter":
    "name:string input:string* input_shape:BlobShape* input_dim:int32* force_backward:bool=false state:NetState "
    "debug_info:bool=false layer:LayerParameter* layers:V1LayerParameter*",
    "LayerParameter":
    "name:string type:string bottom:string* top:string* phase:Phase loss_weight:float* param:ParamSpec* "
    "propagate_down:bool* include:NetStateRule* exclude:NetStateRule* transform_param:TransformationParameter "
    "loss_param:LossParameter accuracy_param:AccuracyParameter annotated_data_param:AnnotatedDataParameter "
    "argmax_param:ArgMaxParameter batch_norm_param:BatchNormParameter bias_param:BiasParameter "
    "concat_param:ConcatParameter contrastive_loss_param:ContrastiveLossParameter "
    "convolution_param:ConvolutionParameter crop_param:CropParameter data_param:DataParameter "
    "detection_evaluate_param:DetectionEvaluateParameter detection_output_param:DetectionOutputParameter "
    "dropout_param:DropoutParameter dummy_data_param:DummyDataParameter eltwise_param:EltwiseParameter "
    "elu_param:ELUParameter embed_param:EmbedParameter exp_param:ExpParameter flatten_param:FlattenParameter "
    "hdf5_data_param:HDF5DataParameter hdf5_output_param:HDF5OutputParameter hinge_loss_param:HingeLossParameter "
    "image_data_param:ImageDataParameter infogain_loss_param:InfogainLossParameter "
    "inner_product_param:InnerProductParameter input_param:InputParameter log_param:LogParameter "
    "lrn_param:LRNParameter memory_data_param:MemoryDataParameter multibox_loss_param:MultiBoxLossParameter "
    "mvn_param:MVNParameter norm_param:NormalizeParameter parameter_param:ParameterParameter "
    "permute_param:PermuteParameter pooling_param:PoolingParameter power_param:PowerParameter "
    "prelu_param:PReLUParameter prior_box_param:PriorBoxParameter python_param:PythonParameter "
    "recurrent_param:RecurrentParameter reduction_param:ReductionParameter relu_param:ReLUParameter "
    "reshape_param:ReshapeParameter scale_param:ScaleParameter sigmoid_param:SigmoidParameter "
    "softmax_param:SoftmaxParameter spp_param:SPPParameter slice_param:SliceParameter tanh_param:TanHParameter "
    "threshold_param:ThresholdParameter tile_param:TileParameter video_data_param:VideoDataParameter "
    "window_data_param:WindowDataParameter clip_param:ClipParameter swish_param:SwishParameter "
    "interp_param:InterpParameter upsample_param:UpsampleParameter shuffle_channel_param:ShuffleChannelParameter "
    "reverse_param:ReverseParameter th_strategy:ThresholdStrategy=USE_DEFAULT th_scale:float=1 threshold:float "
    "forward_with_float:bool=false",
    "AccuracyParameter": "top_k:uint32=1 axis:int32=1 ignore_label:int32",
    "AnnotatedDataParameter": "batch_sampler:BatchSampler* label_map_file:string anno_type:AnnotationType",
    "enum AnnotationType": "BBOX=0",
    "ArgMaxParameter": "out_max_val:bool=false top_k:uint32=1 axis:int32",
    "BatchNormParameter": "use_global_stats:bool moving_average_fraction:float=0.999 eps:float=1e-5",
    "BatchSampler":
    "use_original_image:bool=true sampler:Sampler sample_constraint:SampleConstraint max_sample:uint32 "
    "max_trials:uint32=100",
    "BiasParameter": "axis:int32=1 num_axes:int32=1 filler:FillerParameter",
    "BlobShape": "dim:int64*",
    "ClipParameter": "min:float max:float",
    "enum CodeType": "CORNER=1 CENTER_SIZE=2 CORNER_SIZE=3",
    "ConcatParameter": "axis:int32=1 concat_dim:uint32=1",
    "enum ConfLossType": "SOFTMAX=0 LOGISTIC=1",
    "ContrastiveLossParameter": "margin:float=1.0 legacy_version:bool=false",
    "ConvolutionParameter":
    "num_output:uint32 bias_term:bool=true pad:uint32* kernel_size:uint32* stride:uint32* dilation:uint32* "
    "pad_h:uint32=0 pad_w:uint32=0 kernel_h:uint32 kernel_w:uint32 stride_h:uint32 stride_w:uint32 group:uint32=1 "
    "weight_filler:FillerParameter bias_filler:FillerParameter engine:Engine=DEFAULT axis:int32=1 "
    "force_nd_im2col:bool=false",
    "CropParameter": "axis:int32=2 offset:uint32*",
    "enum DB": "LEVELDB=0 LMDB=1",
    "DataParameter":
    "source:string batch_size:uint32 rand_skip:uint32=0 backend:DB=LEVELDB scale:float=1 mean_file:string "
    "crop_size:uint32=0 mirror:bool=false force_encoded_color:bool=false prefetch:uint32=4",
    "DetectionEvaluateParameter":
    "num_classes:uint32 background_label_id:uint32=0 overlap_threshold:float=0.5 evaluate_difficult_gt:bool=true "
    "name_size_file:string resize_param:ResizeParameter",
    "DetectionOutputParameter":
    "num_classes:uint32 share_location:bool=true background_label_id:int32=0 "
    "nms_param:NonMaximumSuppressionParameter save_output_param:SaveOutputParameter code_type:CodeType=CORNER "
    "variance_encoded_in_target:bool=false keep_top_k:int32=-1 confidence_threshold:float visualize:bool=false "
    "visualize_threshold:float save_file:string nms_threshold:float top_k:int32",
    "enum DimCheckMode": "STRICT=0 PERMISSIVE=1",
    "DistortionParameter":
    "brightness_prob:float=0.0 brightness_delta:float=0.0 contrast_prob:float=0.0 contrast_lower:float=0.0 "
    "contrast_upper:float=0.0 hue_prob:float=0.0 hue_delta:float=0.0 saturation_prob:float=0.0 "
    "saturation_lower:float=0.0 saturation_upper:float=0.0 random_order_prob:float=0.0",
    "DropoutParameter": "dropout_ratio:float=0.5",
    "DummyDataParameter":
    "data_filler:FillerParameter* shape:BlobShape* num:uint32* channels:uint32* height:uint32* width:uint32*",
    "ELUParameter": "alpha:float=1",
    "enum EltwiseOp": "PROD=0 SUM=1 MAX=2",
    "EltwiseParameter": "operation:EltwiseOp=SUM coeff:float* stable_prod_grad:bool=true",
    "EmbedParameter":
    "num_output:uint32 input_dim:uint32 bias_term:bool=true weight_filler:FillerParameter "
    "bias_filler:FillerParameter",
    "EmitConstraint": "emit_type:EmitType=CENTER emit_overlap:float",
    "enum EmitType": "CENTER=0 MIN_OVERLAP=1",
    "enum Engine": "DEFAULT=0 CAFFE=1 CUDNN=2",
    "ExpParameter": "base:float=-1.0 scale:float=1.0 shift:float=0.0",
    "ExpansionParameter": "prob:float=1 max_expand_ratio:float=1",
    "FillerParameter":
    "type:string=constant value:float=0 min:float=0 max:float=1 mean:float=0 std:float=1 sparse:int32=-1 "
    "variance_norm:VarianceNorm=FAN_IN",
    "FlattenParameter": "axis:int32=1 end_axis:int32=-1",
    "HDF5DataParameter": "source:string batch_size:uint32 shuffle:bool=false",
    "HDF5OutputParameter": "file_name:string",
    "HingeLossParameter": "norm:Norm=L1",
    "ImageDataParameter":
    "source:string batch_size:uint32=1 rand_skip:uint32=0 shuffle:bool=false new_height:uint32=0 "
    "new_width:uint32=0 is_color:bool=true scale:float=1 mean_file:string crop_size:uint32=0 mirror:bool=false "
    "root_folder:string=",
    "InfogainLossParameter": "source:string",
    "InnerProductParameter":
    "num_output:uint32 bias_term:bool=true weight_filler:FillerParameter bias_filler:FillerParameter axis:int32=1 "
    "transpose:bool=false",
    "InputParameter": "shape:BlobShape*",
    "InterpParameter":
    "height:int32=0 width:int32=0 zoom_factor:int32=1 shrink_factor:int32=1 pad_beg:int32=0 pad_end:int32=0",
    "enum Interp_mode": "LINEAR=1 AREA=2 NEAREST=3 CUBIC=4 LANCZOS4=5",
    "LRNParameter":
    "local_size:uint32=5 alpha:float=1 beta:float=0.75 norm_region:NormRegion=ACROSS_CHANNELS k:float=1 "
    "engine:Engine=DEFAULT",
    "enum LocLossType": "L2=0 SMOOTH_L1=1",
    "LogParameter": "base:float=-1.0 scale:float=1.0 shift:float=0.0",
    "LossParameter": "ignore_label:int32 normalization:NormalizationMode=VALID normalize:bool",
    "MVNParameter": "normalize_variance:bool=true across_channels:bool=false eps:float=1e-9",
    "enum MatchType": "BIPARTITE=0 PER_PREDICTION=1",
    "MemoryDataParameter": "batch_size:uint32 channels:uint32 height:uint32 width:uint32",
    "enum MiningType": "NONE=0 MAX_NEGATIVE=1 HARD_EXAMPLE=2",
    "MultiBoxLossParameter":
    "loc_loss_type:LocLossType=SMOOTH_L1 conf_loss_type:ConfLossType=SOFTMAX loc_weight:float=1.0 "
    "num_classes:uint32 share_location:bool=true match_type:MatchType=PER_PREDICTION overlap_threshold:float=0.5 "
    "use_prior_for_matching:bool=true background_label_id:uint32=0 use_difficult_gt:bool=true do_neg_mining:bool "
    "neg_pos_ratio:float=3.0 neg_overlap:float=0.5 code_type:CodeType=CORNER encode_variance_in_target:bool=false "
    "map_object_to_agnostic:bool=false ignore_cross_boundary_bbox:bool=false bp_inside:bool=false "
    "mining_type:MiningType=MAX_NEGATIVE nms_param:NonMaximumSuppressionParameter sample_size:int32=64 "
    "use_prior_for_nms:bool=false",
    "NetState": "phase:Phase=TEST level:int32=0 stage:string*",
    "NetStateRule": "phase:Phase min_level:int32 max_level:int32 stage:string* not_stage:string*",
    "NoiseParameter":
    "prob:float=0 hist_eq:bool=false inverse:bool=false decolorize:bool=false gauss_blur:bool=false jpeg:float=-1 "
    "posterize:bool=false erode:bool=false saltpepper:bool=false saltpepper_param:SaltPepperParameter "
    "clahe:bool=false convert_to_hsv:bool=false convert_to_lab:bool=false",
    "NonMaximumSuppressionParameter": "nms_threshold:float=0.3 top_k:int32 eta:float=1.0",
    "enum Norm": "L1=1 L2=2",
    "enum NormRegion": "ACROSS_CHANNELS=0 WITHIN_CHANNEL=1",
    "enum NormalizationMode": "FULL=0 VALID=1 BATCH_SIZE=2 NONE=3",
    "NormalizeParameter":
    "across_spatial:bool=true scale_filler:FillerParameter channel_shared:bool=true eps:float=1e-10",
    "PReLUParameter": "filler:FillerParameter channel_shared:bool=false",
    "enum Pad_mode": "CONSTANT=1 MIRRORED=2 REPEAT_NEAREST=3",
    "ParamSpec": "name:string share_mode:DimCheckMode lr_mult:float=1.0 decay_mult:float=1.0",
    "ParameterParameter": "shape:BlobShape",
    "PermuteParameter": "order:uint32*",
    "enum Phase": "TRAIN=0 TEST=1",
    "enum PoolMethod": "MAX=0 AVE=1 STOCHASTIC=2",
    "PoolingParameter":
    "pool:PoolMethod=MAX pad:uint32=0 pad_h:uint32=0 pad_w:uint32=0 kernel_size:uint32 kernel_h:uint32 "
    "kernel_w:uint32 stride:uint32=1 stride_h:uint32 stride_w:uint32 engine:Engine=DEFAULT "
    "global_pooling:bool=false round_mode:RoundMode=CEIL ceil_mode:bool=true",
    "PowerParameter": "power:float=1.0 scale:float=1.0 shift:float=0.0",
    "PriorBoxParameter":
    "min_size:float* max_size:float* aspect_ratio:float* flip:bool=true clip:bool=false variance:float* "
    "img_size:uint32 img_h:uint32 img_w:uint32 step:float step_h:float step_w:float offset:float=0.5",
    "PythonParameter": "module:string layer:string param_str:string= share_in_parallel:bool=false",
    "ReLUParameter": "negative_slope:float=0 engine:Engine=DEFAULT",
    "RecurrentParameter":
    "num_output:uint32=0 weight_filler:FillerParameter bias_filler:FillerParameter debug_info:bool=false "
    "expose_hidden:bool=false",
    "enum ReductionOp": "SUM=1 ASUM=2 SUMSQ=3 MEAN=4",
    "ReductionParameter": "operation:ReductionOp=SUM axis:int32=0 coeff:float=1.0",
    "ReshapeParameter": "shape:BlobShape axis:int32=0 num_axes:int32=-1",
    "ResizeParameter":
    "prob:float=1 resize_mode:Resize_mode=WARP height:uint32=0 width:uint32=0 height_scale:uint32=0 "
    "width_scale:uint32=0 pad_mode:Pad_mode=CONSTANT pad_value:float* interp_mode:Interp_mode*",
    "enum Resize_mode": "WARP=1 FIT_SMALL_SIZE=2 FIT_LARGE_SIZE_AND_PAD=3",
    "ReverseParameter": "axis:int32=1",
    "enum RoundMode": "CEIL=0 FLOOR=1",
    "SPPParameter": "pyramid_height:uint32 pool:PoolMethod=MAX engine:Engine=DEFAULT",
    "SaltPepperParameter": "fraction:float=0 value:float*",
    "SampleConstraint":
    "min_jaccard_overlap:float max_jaccard_overlap:float min_sample_coverage:float max_sample_coverage:float "
    "min_object_coverage:float max_object_coverage:float",
    "Sampler": "min_scale:float=1 max_scale:float=1 min_aspect_ratio:float=1 max_aspect_ratio:float=1",
    "SaveOutputParameter":
    "output_directory:string output_name_prefix:string output_format:string label_map_file:string "
    "name_size_file:string num_test_image:uint32 resize_param:ResizeParameter",
    "ScaleParameter":
    "axis:int32=1 num_axes:int32=1 filler:FillerParameter bias_term:bool=false bias_filler:FillerParameter",
    "ShuffleChannelParameter": "group:uint32=1",
    "SigmoidParameter": "engine:Engine=DEFAULT",
    "SliceParameter": "axis:int32=1 slice_point:uint32* slice_dim:uint32=1",
    "SoftmaxParameter": "engine:Engine=DEFAULT axis:int32=1",
    "SwishParameter": "beta:float=1",
    "TanHParameter": "engine:Engine=DEFAULT",
    "ThresholdParameter": "threshold:float=0",
    "enum ThresholdStrategy": "USE_DEFAULT=0 USE_KL=1 USE_MAX=2",
    "TileParameter": "axis:int32=1 tiles:int32",
    "enum TransformKind": "RESIZE=0 CROP=1 STAND=2 NONE=3",
    "TransformOp":
    "op:TransformKind=NONE resize_side:uint32 resize_h:uint32=0 resize_w:uint32=0 crop_fraction:float "
    "crop_h:uint32=0 crop_w:uint32=0 padding:float=0 mean_value:float* mean_file:string scale:float=1 div:float=1 "
    "bgr2rgb:bool=false",
    "TransformationParameter":
    "scale:float=1 mirror:bool=false crop_size:uint32=0 crop_h:uint32=0 crop_w:uint32=0 mean_file:string "
    "mean_value:float* force_color:bool=false force_gray:bool=false resize_param:ResizeParameter "
    "noise_param:NoiseParameter distort_param:DistortionParameter expand_param:ExpansionParameter "
    "emit_constraint:EmitConstraint crop_fraction:float=0 resize:uint32* standardization:bool=false "
    "transform_op:TransformOp*",
    "UpsampleParameter":
    "scale:int32=1 scale_h:int32 scale_w:int32 pad_out_h:bool=false pad_out_w:bool=false upsample_h:int32 "
    "upsample_w:int32",
    "enum VarianceNorm": "FAN_IN=0 FAN_OUT=1 AVERAGE=2",
    "VideoDataParameter": "video_type:VideoType=WEBCAM device_id:int32=0 video_file:string skip_frames:uint32=0",
    "enum VideoType": "WEBCAM=0 VIDEO=1",
    "WindowDataParameter":
    "source:string scale:float=1 mean_file:string batch_size:uint32 crop_size:uint32=0 mirror:bool=false "
    "fg_threshold:float=0.5 bg_threshold:float=0.5 fg_fraction:float=0.25 context_pad:uint32=0 "
    "crop_mode:string=warp cache_images:bool=false root_folder:string=",
}  # fmt: skip
_V1_TYPES = (
    "ABSVAL=AbsVal ACCURACY=Accuracy ARGMAX=ArgMax BNLL=BNLL CONCAT=Concat CONTRASTIVE_LOSS=ContrastiveLoss "
    "CONVOLUTION=Convolution DATA=Data DECONVOLUTION=Deconvolution DROPOUT=Dropout DUMMY_DATA=DummyData "
    "EUCLIDEAN_LOSS=EuclideanLoss ELTWISE=Eltwise EXP=Exp FLATTEN=Flatten HDF5_DATA=HDF5Data "
    "HDF5_OUTPUT=HDF5Output HINGE_LOSS=HingeLoss IM2COL=Im2col IMAGE_DATA=ImageData INFOGAIN_LOSS=InfogainLoss "
    "INNER_PRODUCT=InnerProduct LRN=LRN MEMORY_DATA=MemoryData MULTINOMIAL_LOGISTIC_LOSS=MultinomialLogisticLoss "
    "MVN=MVN POOLING=Pooling POWER=Power RELU=ReLU SIGMOID=Sigmoid "
    "SIGMOID_CROSS_ENTROPY_LOSS=SigmoidCrossEntropyLoss SILENCE=Silence SOFTMAX=Softmax "
    "SOFTMAX_LOSS=SoftmaxWithLoss SPLIT=Split SLICE=Slice TANH=TanH WINDOW_DATA=WindowData THRESHOLD=Threshold"
)
V1_TYPES: dict[str, str] = {name: kind for name, _, kind in (p.partition("=") for p in _V1_TYPES.split())}
"""Types of the older `layers` → those of `layer`."""
_V1_MORE = " param:string* blobs_lr:float* weight_decay:float* blob_share_mode:DimCheckMode* "
_WEIGHTS = {
    "NetParameter": "name@1:string layers@2:V1Layer* layer@100:Layer*",
    "Layer": "name@1:string type@2:string blobs@7:Blob*",
    "V1Layer": "name@4:string blobs@6:Blob*",
    "Blob": "num@1:int32=0 channels@2:int32=0 height@3:int32=0 width@4:int32=0 data@5:float* shape@7:Shape"
    " double_data@8:double*",
    "Shape": "dim@1:int64*",
}
BLOBS = ((100, 7, 5), (2, 6, 5))
"""The fields that lead to the values of a weight: of `layer` and of `layers`."""


@functools.cache
def text_message() -> Any:
    """The class of a network as text."""
    numbered = " ".join(f"{name}={k}" for k, name in enumerate(V1_TYPES))
    older = _TEXT["LayerParameter"].replace(" type:string ", " type:LayerType ").replace(" param:ParamSpec* ", _V1_MORE)
    table = _TEXT | {"V1LayerParameter": older, "enum LayerType": numbered}
    return messages("bitlite_caffe", table)["NetParameter"]


@functools.cache
def weights_message() -> Any:
    """The class of a file of weights."""
    return messages("bitlite_caffemodel", _WEIGHTS)["NetParameter"]
