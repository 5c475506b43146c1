/* Libraries of CUDA that TensorRT 8.6's plugin library is linked with and that are left out of this image for
 * their size, more than a gigabyte. Every function of theirs that it names says "not initialised". Nothing here
 * calls one: the engines of the tests are built from TensorRT's own kernels (tacticSources), and their networks
 * use none of the plugins that would. */
#define ABSENT(name) \
    int name(void) { return 1; }

#ifdef CUBLAS
ABSENT(cublasCreate_v2)
ABSENT(cublasDestroy_v2)
ABSENT(cublasGemmEx)
ABSENT(cublasGemmStridedBatchedEx)
ABSENT(cublasGetMathMode)
ABSENT(cublasGetPointerMode_v2)
ABSENT(cublasHgemm)
ABSENT(cublasSasum_v2)
ABSENT(cublasScopy_v2)
ABSENT(cublasSetMathMode)
ABSENT(cublasSetPointerMode_v2)
ABSENT(cublasSetStream_v2)
ABSENT(cublasSgemmStridedBatched)
ABSENT(cublasSgemm_v2)
ABSENT(cublasSscal_v2)
#endif

#ifdef CUBLASLT
ABSENT(cublasLtCreate)
ABSENT(cublasLtDestroy)
ABSENT(cublasLtMatmul)
ABSENT(cublasLtMatmulAlgoCapGetAttribute)
ABSENT(cublasLtMatmulAlgoCheck)
ABSENT(cublasLtMatmulAlgoConfigGetAttribute)
ABSENT(cublasLtMatmulAlgoConfigSetAttribute)
ABSENT(cublasLtMatmulAlgoGetIds)
ABSENT(cublasLtMatmulAlgoInit)
ABSENT(cublasLtMatmulDescCreate)
ABSENT(cublasLtMatmulDescDestroy)
ABSENT(cublasLtMatmulDescSetAttribute)
ABSENT(cublasLtMatmulPreferenceCreate)
ABSENT(cublasLtMatmulPreferenceDestroy)
ABSENT(cublasLtMatmulPreferenceSetAttribute)
ABSENT(cublasLtMatrixLayoutCreate)
ABSENT(cublasLtMatrixLayoutDestroy)
ABSENT(cublasLtMatrixLayoutSetAttribute)
#endif

#ifdef CUDNN
ABSENT(cudnnBatchNormalizationForwardTraining)
ABSENT(cudnnCreate)
ABSENT(cudnnCreateTensorDescriptor)
ABSENT(cudnnDeriveBNTensorDescriptor)
ABSENT(cudnnDestroy)
ABSENT(cudnnDestroyTensorDescriptor)
ABSENT(cudnnSetStream)
ABSENT(cudnnSetTensor4dDescriptor)
ABSENT(cudnnSetTensorNdDescriptor)
const char *cudnnGetErrorString(int status) { return "cuDNN is not part of this image"; }
#endif
