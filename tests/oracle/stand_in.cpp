// Stands in for the CUDA runtime: it answers what ggml-cuda asks about the machine and hands out
// addresses. Memory on a GPU is never touched, so an address is all that an allocation needs.
//
// How many GPUs there are and of which kind is said by the environment, see `ask.py`. What only
// has to succeed is not here: `build.py` lists it and writes it itself.

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

// A macro of the runtime's header; ggml-cuda is compiled to ask for the name behind it.
#undef cudaGetDeviceProperties

namespace {

constexpr size_t PAGE = 4096;

thread_local int                current_device = 0;
std::atomic<unsigned long long> next_address{0x100000000000ull};
char                            handle;

int from_environment(const char * name) {
    const char * value = getenv(name);
    return value ? atoi(value) : 0;
}

size_t memory_bytes() {
    return size_t(from_environment("GGUFCTL_ORACLE_MIB")) << 20;
}

size_t whole_pages(size_t n_bytes) {
    return (n_bytes + PAGE - 1) / PAGE * PAGE;
}

// CUDA C++ Programming Guide, technical specifications per compute capability.
size_t shared_memory_per_block_bytes(int capability) {
    switch (capability) {
        case 75: return 64 << 10;
        case 80: return 163 << 10;
        case 86:
        case 89:
        case 120: return 99 << 10;
        default: return 227 << 10;
    }
}

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int * count) {
    *count = from_environment("GGUFCTL_ORACLE_GPUS");
    return *count ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaSetDevice(int device) {
    current_device = device;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int * device) {
    *device = current_device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties_v2(cudaDeviceProp * properties, int) {
    const int capability = from_environment("GGUFCTL_ORACLE_CAPABILITY");
    memset(properties, 0, sizeof(*properties));
    strcpy(properties->name, "stand-in");
    properties->major                       = capability / 10;
    properties->minor                       = capability % 10;
    properties->totalGlobalMem              = memory_bytes();
    properties->warpSize                    = 32;
    properties->multiProcessorCount         = 132;
    properties->sharedMemPerBlock           = 48 << 10;
    properties->sharedMemPerBlockOptin      = shared_memory_per_block_bytes(capability);
    properties->maxThreadsPerBlock          = 1024;
    properties->maxThreadsPerMultiProcessor = 2048;
    properties->unifiedAddressing           = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int * value, cudaDeviceAttr attribute, int) {
    *value = attribute == cudaDevAttrCooperativeLaunch ? 1 : 0;
    return cudaSuccess;
}

// Virtual memory management is what is asked for; without it the pool allocates plainly, and
// nothing that llama.cpp counts comes from the pool.
int cuDeviceGetAttribute(int * value, int, int) {
    *value = 0;
    return 0;
}

cudaError_t cudaDeviceGetPCIBusId(char * id, int size, int device) {
    snprintf(id, size, "0000:%02x:00.0", device + 1);
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int * can, int, int) {
    *can = 1;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t * free_bytes, size_t * total_bytes) {
    *free_bytes = *total_bytes = memory_bytes();
    return cudaSuccess;
}

cudaError_t cudaMalloc(void ** address, size_t n_bytes) {
    *address = reinterpret_cast<void *>(next_address.fetch_add(whole_pages(n_bytes) + PAGE));
    return cudaSuccess;
}

// The host writes here, so this memory is real.
cudaError_t cudaMallocHost(void ** address, size_t n_bytes) {
    *address = aligned_alloc(PAGE, whole_pages(n_bytes));
    return *address ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void * address) {
    free(address);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t * event, unsigned) {
    *event = reinterpret_cast<cudaEvent_t>(&handle);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t * stream, unsigned) {
    *stream = reinterpret_cast<cudaStream_t>(&handle);
    return cudaSuccess;
}

cublasStatus_t cublasCreate(cublasHandle_t * created) {
    *created = reinterpret_cast<cublasHandle_t>(&handle);
    return CUBLAS_STATUS_SUCCESS;
}

const char * cudaGetErrorString(cudaError_t) {
    return "an error of the stand-in";
}

const char * cublasGetStatusString(cublasStatus_t) {
    return "a status of the stand-in";
}

// Called before `main` by every object that clang made of a .cu file.
void ** __cudaRegisterFatBinary(void *) {
    static void * registered;
    return &registered;
}

}  // extern "C"
