// What llama.cpp uses of cuBLAS, declared. The library itself is half a gigabyte and never called:
// no product is computed here. A name that a newer llama.cpp uses is to be added.
#pragma once

#include <cuda_runtime.h>
#include <library_types.h>

#define CUBLAS_VER_MAJOR 12
#define CUBLAS_VER_MINOR 4

typedef struct cublasContext * cublasHandle_t;

typedef enum {
    CUBLAS_STATUS_SUCCESS,
    CUBLAS_STATUS_NOT_INITIALIZED,
    CUBLAS_STATUS_ALLOC_FAILED,
    CUBLAS_STATUS_INVALID_VALUE,
    CUBLAS_STATUS_ARCH_MISMATCH,
    CUBLAS_STATUS_MAPPING_ERROR,
    CUBLAS_STATUS_EXECUTION_FAILED,
    CUBLAS_STATUS_INTERNAL_ERROR,
    CUBLAS_STATUS_NOT_SUPPORTED,
} cublasStatus_t;

typedef enum { CUBLAS_OP_N, CUBLAS_OP_T } cublasOperation_t;
typedef enum { CUBLAS_COMPUTE_16F, CUBLAS_COMPUTE_32F } cublasComputeType_t;
typedef enum { CUBLAS_GEMM_DEFAULT, CUBLAS_GEMM_DEFAULT_TENSOR_OP } cublasGemmAlgo_t;
typedef enum { CUBLAS_TENSOR_OP_MATH, CUBLAS_TF32_TENSOR_OP_MATH } cublasMath_t;

#define cublasCreate cublasCreate_v2
#define cublasDestroy cublasDestroy_v2
#define cublasSetStream cublasSetStream_v2
#define cublasSetWorkspace cublasSetWorkspace_v2
#define cublasSgemm cublasSgemm_v2

#ifdef __cplusplus
extern "C" {
#endif

cublasStatus_t cublasCreate(cublasHandle_t * handle);
cublasStatus_t cublasDestroy(cublasHandle_t handle);
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode);
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream);
cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void * workspace, size_t size);
const char *   cublasGetStatusString(cublasStatus_t status);

cublasStatus_t cublasSgemm(
    cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n, int k,
    const float * alpha, const float * a, int lda, const float * b, int ldb, const float * beta,
    float * c, int ldc);

cublasStatus_t cublasGemmEx(
    cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n, int k,
    const void * alpha, const void * a, cudaDataType type_a, int lda, const void * b,
    cudaDataType type_b, int ldb, const void * beta, void * c, cudaDataType type_c, int ldc,
    cublasComputeType_t compute, cublasGemmAlgo_t algo);

cublasStatus_t cublasGemmBatchedEx(
    cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n, int k,
    const void * alpha, const void * const a[], cudaDataType type_a, int lda,
    const void * const b[], cudaDataType type_b, int ldb, const void * beta, void * const c[],
    cudaDataType type_c, int ldc, int n_batch, cublasComputeType_t compute, cublasGemmAlgo_t algo);

cublasStatus_t cublasGemmStridedBatchedEx(
    cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n, int k,
    const void * alpha, const void * a, cudaDataType type_a, int lda, long long stride_a,
    const void * b, cudaDataType type_b, int ldb, long long stride_b, const void * beta, void * c,
    cudaDataType type_c, int ldc, long long stride_c, int n_batch, cublasComputeType_t compute,
    cublasGemmAlgo_t algo);

#ifdef __cplusplus
}
#endif
