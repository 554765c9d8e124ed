"""The MindSpore Lite schema as data: every table, enumeration and primitive of a `MSL2` file (notation: `flat_schema`).

A primitive's line opens with its number in the union `PrimitiveType`; `node.primitive.value` is a Record whose `table`
is the primitive's name. `Tensor.quantParams` is read and written as one numpy structured array, a row per entry.
`Tensor.data` has no forced alignment in this format: it is written at the alignment of the array's own dtype. It is
never shared between tensors, as the runtime caches packed weights by address: two operators with weights of equal bytes
and different layout would get one packing (seen in 2.0.0, as wrong results).
"""

from __future__ import annotations

from .flat_schema import Schema

ENUMS = """
ResizeMethod:byte UNKNOWN=-1 LINEAR NEAREST CUBIC
CoordinateTransformMode:byte ASYMMETRIC ALIGN_CORNERS HALF_PIXEL
NearestMode:byte NORMAL ROUND_HALF_DOWN ROUND_HALF_UP FLOOR CEIL
Format:int NCHW NHWC NHWC4 HWKC HWCK KCHW CKHW KHWC CHWK HW HW4 NC NC4 NC4HW4 NUM_OF_FORMAT NCDHW NWC NCW NC8HW8
ActivationType:byte NO_ACTIVATION RELU SIGMOID RELU6 ELU LEAKY_RELU ABS RELU1 SOFTSIGN SOFTPLUS TANH SELU HSWISH
  HSIGMOID THRESHOLDRELU LINEAR HARD_TANH SIGN SWISH GELU FAST_GELU CELU=27 UNKNOWN=40
ReduceMode:byte ReduceMean ReduceMax ReduceMin ReduceProd ReduceSum ReduceSumSquare ReduceASum ReduceAll ReduceL2
PoolMode:byte MAX_POOLING MEAN_POOLING
EltwiseMode:byte PROD SUM MAXIMUM UNKNOWN
PadMode:byte PAD SAME VALID
RoundMode:byte FLOOR CEIL
PaddingMode:byte CONSTANT REFLECT SYMMETRIC MODE_RESERVED
LshProjectionType:byte UNKNOWN SPARSE DENSE
Reduction:byte REDUCTION_SUM MEAN NONE
WeightQuantCompressType:int NONE INDEXING SPARSE FSE BITPACKING FSE_INT FSE_INFER
QuantType:int QUANT_NONE AwareTraining WeightQuant PostTraining QUANT_WEIGHT QUANT_ALL QUANT_DYNAMIC
"""

TABLES = """
Vec data:[long]
Vec2D data:[Vec]
Attribute name:string data:[ubyte]
QuantParam scale:double=1 zeroPoint:int min:double max:double narrowRange:bool=1 numBits:int=8 inited:bool
  varCorr:float=1 meanCorr:float dstDtype:int=32 roundType:int=1 multiplier:int=1
ExternalData checkSum:string location:string offset:int64 length:int64=-1
Tensor nodeType:int dataType:int dims:[int] format:Format refCount:int offset:int data:[ubyte]!
  quantParams:[QuantParam] quantClusters:[float] name:string enableHuffmanCode:bool
  weightQuantCompressType:WeightQuantCompressType externalData:[ExternalData]
Primitive value:PrimitiveType
CNode name:string nodeType:int primitive:Primitive inputIndex:[uint] outputIndex:[uint] quantType:QuantType
  deviceType:int=-1
SubGraph name:string inputIndices:[uint] outputIndices:[uint] nodeIndices:[uint] tensorIndices:[uint]
MetaGraph name:string version:string fmkType:int inputIndex:[uint] outputIndex:[uint] mempoolSize:uint nodes:[CNode]
  allTensors:[Tensor] subGraph:[SubGraph] obfuscate:bool obfMetaData:[ubyte]
"""

PRIMITIVES = """
1 Abs
2 Activation activation_type:ActivationType alpha:float min_val:float max_val:float approximate:bool
3 ActivationGrad activation_type:ActivationType alpha:float
4 Adam use_locking:bool use_nesterov:bool
5 AddFusion activation_type:ActivationType
6 AdderFusion format:Format kernel_size:[long] stride:[long] dilation:[long] pad_mode:PadMode pad_list:[long]
  group:long in_channel:long out_channel:long activation_type:ActivationType
7 AddGrad
8 AddN
9 All keep_dims:long
10 ApplyMomentum use_nesterov:bool use_locking:bool gradient_scale:float
11 ArgMaxFusion axis:long top_k:long=1 keep_dims:bool out_max_value:bool
12 ArgMinFusion axis:long top_k:long keep_dims:bool out_max_value:bool
13 Assert summarize:long
14 Assign
15 AssignAdd
16 AudioSpectrogram window_size:long stride:long mag_square:bool
17 AvgPoolFusion kernel_size:[long] strides:[long] pad:[long] pad_mode:PadMode round_mode:RoundMode format:Format
  global:bool activation_type:ActivationType
18 AvgPoolGrad kernel_size:[long] strides:[long] pad_mode:PadMode format:Format
19 BatchNorm epsilon:float format:Format is_training:bool
20 BatchNormGrad epsilon:float is_training:bool
21 BatchToSpace block_size:[long] crops:Vec2D
22 BatchToSpaceND block_shape:[long] crops:Vec2D
23 BiasAdd format:Format
24 BinaryCrossEntropy reduction:Reduction
25 BinaryCrossEntropyGrad reduction:Reduction=1
26 BiasAddGrad
27 BroadcastTo shape:[long]
28 Cast
29 Ceil
30 Clip max:float min:float
31 Concat axis:long
32 Attention head_num:long head_size:long cross:bool scale:float
33 Conv2DBackpropFilterFusion format:Format kernel_size:[long] stride:[long] dilation:[long] pad_mode:PadMode
  pad_list:[long] mode:long group:long in_channel:long out_channel:long activation_type:ActivationType
34 Conv2DBackpropInputFusion format:Format kernel_size:[long] stride:[long] dilation:[long] pad_mode:PadMode
  pad:[long] pad_list:[long] mode:long group:long in_channel:long out_channel:long activation_type:ActivationType
35 Conv2DFusion format:Format kernel_size:[long] stride:[long] dilation:[long] pad_mode:PadMode pad_list:[long]
  mode:long group:long in_channel:long out_channel:long activation_type:ActivationType
36 Conv2dTransposeFusion format:Format kernel_size:[long] stride:[long] dilation:[long] pad_mode:PadMode pad:[long]
  pad_list:[long] mode:long group:long in_channel:long out_channel:long activation_type:ActivationType
  output_paddings:[long]
37 Cos
38 ConstantOfShape data_type:long value:[float]
39 Crop axis:long offsets:[long]
40 CustomExtractFeatures
41 CustomNormalize
42 CustomPredict output_num:long weight_threshold:float
43 DeConv2DGradFilter in_channel:long out_channel:long kernel_size:[long] pad_mode:PadMode pad_list:[long]
  stride:[long] dilation:[long] group:long format:Format activation_type:ActivationType
44 Depend
45 DepthToSpace block_size:long format:Format mode:string
46 DetectionPostProcess format:Format input_size:long scale:[float] nms_iou_threshold:float nms_score_threshold:float
  max_detections:long detections_per_class:long max_classes_per_detection:long num_classes:long use_regular_nms:bool
  out_quantized:bool
47 DivFusion activation_type:ActivationType
48 DivGrad
49 Dropout keep_prob:float=0.5
50 DropoutGrad keep_prob:float
51 Elu alpha:float
52 Eltwise mode:EltwiseMode
53 Equal
54 EmbeddingLookupFusion max_norm:float
55 ExpFusion base:float=-1 scale:float=1.0 shift:float
56 ExpandDims
57 FakeQuantWithMinMaxVars num_bits:long narrow_range:bool
58 FakeQuantWithMinMaxVarsPerChannel num_bits:long narrow_range:bool
59 FftReal
60 FftImag
61 Flatten axis:long=1
62 FlattenGrad
63 Floor
64 FloorDiv
65 FloorMod
66 Fill
67 FullConnection has_bias:bool use_axis:bool axis:long activation_type:ActivationType
68 FusedBatchNorm epsilon:float=0.0001 momentum:float=0.9 mode:long
69 Gather
70 GatherNd
71 Greater
72 GreaterEqual
73 HashtableLookup
74 InstanceNorm epsilon:float
75 LayerNormFusion begin_norm_axis:long epsilon:float=0.00001 elementwise_affine:bool begin_params_axis:long
76 LeakyRelu negative_slope:float
77 Less
78 LessEqual
79 Log
80 LogGrad
81 LogicalAnd
82 LogicalNot
83 LogicalOr
84 LpNormalization axis:long p:long
85 LRN depth_radius:long bias:float alpha:float beta:float norm_region:string
86 LshProjection type:LshProjectionType
87 LSTM bidirectional:bool has_bias:bool input_size:long hidden_size:long num_layers:long num_directions:long
  dropout:float zoneout_cell:float zoneout_hidden:float proj_size:long
88 L2NormalizeFusion axis:[long] epsilon:float activation_type:ActivationType
89 MatMulFusion transpose_a:bool transpose_b:bool activation_type:ActivationType
90 Maximum
91 MaximumGrad grad_x:bool grad_y:bool
92 MaxPoolFusion kernel_size:[long] strides:[long] pad:[long] pad_mode:PadMode round_mode:RoundMode format:Format
  global:bool activation_type:ActivationType
93 MaxPoolGrad kernel_size:[long] strides:[long] pad_mode:PadMode format:Format
94 SwitchLayer
95 Mfcc freq_upper_limit:float freq_lower_limit:float filter_bank_channel_num:long dct_coeff_num:long
96 Minimum
97 MinimumGrad grad_x:bool grad_y:bool
98 Mod
99 MulFusion activation_type:ActivationType
100 MulGrad
101 Neg
102 NegGrad
103 NotEqual
104 NonMaxSuppression center_point_box:long
105 OneHot axis:long
106 OnesLike
107 PadFusion paddings:Vec2D padding_mode:PaddingMode constant_value:float
108 PartialFusion sub_graph_index:long
109 PowerGrad power:float scale:float shift:float
110 PowFusion scale:float=1 shift:float
111 PriorBox min_sizes:[long] max_sizes:[long] aspect_ratios:[float] variances:[float] image_size_w:long
  image_size_h:long step_w:float step_h:float clip:bool flip:bool offset:float
112 PReLUFusion channel_shared:bool
113 QuantDTypeCast src_t:long dst_t:long axis:long
114 Rank
115 Range d_type:long start:long limit:long delta:long=1
116 Reciprocal
117 RealDiv
118 ReduceFusion keep_dims:bool mode:ReduceMode reduce_to_end:bool coeff:float
119 Reshape
120 Resize format:Format method:ResizeMethod new_height:long new_width:long preserve_aspect_ratio:bool
  coordinate_transform_mode:CoordinateTransformMode cubic_coeff:float exclude_outside:long extrapolation_value:float
  nearest_mode:NearestMode
121 ReverseSequence seq_dim:long batch_dim:long
122 ReverseV2 axis:[long]
123 Rfft fft_length:long
124 ROIPooling pooled_h:long pooled_w:long scale:float
125 Round
126 Rsqrt
127 ScaleFusion axis:long activation_type:ActivationType
128 ScatterNd
129 SGD nesterov:bool dampening:float weight_decay:float
130 Shape
131 SigmoidCrossEntropyWithLogits
132 SigmoidCrossEntropyWithLogitsGrad
133 Sin
134 SkipGram include_all_grams:bool max_skip_size:long ngram_size:long
135 SliceFusion axes:[long]
136 SmoothL1Loss beta:float
137 SmoothL1LossGrad beta:float
138 Softmax axis:[long]
139 SoftmaxCrossEntropyWithLogits
140 SpaceToBatch block_size:[long] paddings:Vec2D
141 SpaceToBatchND block_shape:[long] paddings:Vec2D
142 SpaceToDepth block_size:long format:Format
143 SparseSoftmaxCrossEntropyWithLogits is_grad:bool
144 SparseToDense
145 Split output_num:long size_splits:[long] axis:long
146 Sqrt
147 Squeeze axis:[long]
148 Square
149 SquaredDifference
150 Stack axis:long
151 StridedSlice begin_mask:long end_mask:long ellipsis_mask:long new_axis_mask:long shrink_axis_mask:long
152 SubFusion activation_type:ActivationType
153 SubGrad
154 Switch
155 TensorListFromTensor element_dtype:long shape_type:long
156 TensorListGetItem element_dtype:long
157 TensorListReserve element_dtype:long shape_type:long
158 TensorListSetItem element_dtype:long
159 TensorListStack num_elements:long element_dtype:long
160 TileFusion dims:[long]
161 TopKFusion sorted:bool=1 axis:long largest:long
162 Transpose
163 Unique
164 UnsortedSegmentSum
165 Unsqueeze axis:[long]
166 Unstack axis:long
167 LSTMGrad bidirectional:bool has_bias:bool input_size:long hidden_size:long num_layers:long num_directions:long
  dropout:float zoneout_cell:float zoneout_hidden:float
168 Where
169 ZerosLike
170 Select
171 ScatterNdUpdate
172 GRU bidirectional:bool
173 NonZero
174 InvertPermutation
175 Size
176 RandomStandardNormal seed:long seed2:long
177 CropAndResize method:ResizeMethod extrapolation_value:float
178 Erf
179 StridedSliceGrad begin_mask:long end_mask:long ellipsis_mask:long new_axis_mask:long shrink_axis_mask:long
180 IsFinite
181 LinSpace
182 UniformReal seed:long seed2:long
183 AbsGrad
184 RsqrtGrad
185 SqrtGrad
186 LayerNormGrad begin_norm_axis:long begin_params_axis:long
187 ResizeGrad method:ResizeMethod align_corners:bool
188 Splice context:[long] forward_indexes:[long] output_dim:long
189 LogSoftmax axis:long
190 Call is_tail_call:bool=1
191 Custom type:string attr:[Attribute]
192 CumSum exclusive:bool reverse:bool
193 SplitWithOverlap split_dim:long number_split:long ratio:[long] extend_top:[long] extend_bottom:[long]
194 GenOP activation_type:ActivationType alpha:float min_val:float max_val:float is_training:bool format:Format
  kernel_size:[long] stride:[long] dilation:[long] pad_mode:PadMode pad_list:[long] mode:long group:long
  in_channel:long out_channel:long eltwise_mode:EltwiseMode has_bias:bool use_axis:bool axis:long epsilon:float=0.0001
  momentum:float=0.9 transpose_a:bool transpose_b:bool pad:[long] round_mode:RoundMode global:bool channel_shared:bool
  axes:[long] keep_dims:bool reduce_mode:ReduceMode reduce_to_end:bool coeff:float
195 RaggedRange
196 GLU axis:long=-1
197 TensorArray dynamic_size:bool identical_element_shapes:bool element_shape:[int] data_type:int
198 TensorArrayRead
199 TensorArrayWrite
200 Affine context:[long] output_dim:long activation_type:ActivationType transpose_a:bool transpose_b:bool
201 AllGather group:string rank_size:int
202 ReduceScatter group:string mode:ReduceMode rank_size:int
203 DynamicQuant symmetric:bool dst_type:long=32 activation_channel:bool prefer_axis:long transpose:bool
  prefer_axes:[int]
204 LSTMGradData bidirectional:bool has_bias:bool input_size:long hidden_size:long num_layers:long num_directions:long
  dropout:float zoneout_cell:float zoneout_hidden:float
205 LSTMGradWeight bidirectional:bool has_bias:bool input_size:long hidden_size:long num_layers:long
  num_directions:long dropout:float zoneout_cell:float zoneout_hidden:float
206 RandomNormal seed:float mean:float scale:float
207 NLLLoss reduction:Reduction
208 NLLLossGrad reduction:Reduction
209 FormatTranspose src_format:Format=1 dst_format:Format=1
210 GatherD
211 GroupNormFusion num_groups:long epsilon:float=1e-5 affine:bool=1
212 Log1p
213 TensorScatterAdd
214 SparseFillEmptyRows
215 SparseReshape
216 SparseSegmentSum
217 ScatterElements axis:long
218 Triu
219 Tril
220 AdamWeightDecay use_locking:bool
221 FillV2
"""

SCHEMA = Schema(
    TABLES,
    ENUMS,
    numbered={"PrimitiveType": PRIMITIVES},
    root="MetaGraph",
    identifier=b"MSL2",
    rows=("QuantParam",),
)
