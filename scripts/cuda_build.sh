#!/usr/bin/env bash
# Builds the program with CUDA where no toolkit is installed, by anyone: NVIDIA's compiler and libraries come from PyPI into a folder.
# It needs the crates, a C and C++ compiler, Python 3 with pip, and 4 GB of disk. No GPU and no driver are needed to build.
#
#     scripts/cuda_build.sh [--folder target/cuda] [--features cuda] [--cap 80]
#
# --features cuda,nccl,mpi    sums gradients of several GPUs by NCCL: docs/gpu.md
# --cap 80                    the compute capability of the oldest GPU that is to run it; younger ones do too
#
# The program looks for the libraries in the folder first where LD_LIBRARY_PATH has none, so it stays there. It starts without a driver
# as well, by a small library that looks for libcuda.so.1 when the program starts, in place of linking to it.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=target/cuda features=cuda cap=80
while (($#)); do
    case "$1" in
        --folder) folder=$2 ;;
        --features) features=$2 ;;
        --cap) cap=$2 ;;
        *) echo "what is $1? (the head of scripts/cuda_build.sh says what it takes)" >&2 && exit 2 ;;
    esac
    shift 2
done
mkdir -p "$folder"
folder=$(realpath "$folder")

# Of CUDA 13.0, for a driver reads no kernels of a toolkit that is younger than itself, and cudarc knows none above 13.4.
wheels=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85 nvidia-cublas==13.1.0.3 nvidia-curand==10.4.0.35 nvidia-cuda-nvrtc==13.0.88)
# cudarc declares the functions of NCCL 2.30.
[[ $features != *nccl* ]] || wheels+=(nvidia-nccl-cu13==2.30.7)
lacking=()
for wheel in "${wheels[@]}"; do
    [[ -d $folder/wheels/$(tr - _ <<<"${wheel%%==*}")-${wheel##*==}.dist-info ]] || lacking+=("$wheel")
done
((${#lacking[@]} == 0)) ||
    python3 -m pip install --quiet --no-deps --no-cache-dir --no-compile --upgrade --target "$folder/wheels" "${lacking[@]}"

# The folders of a toolkit, and the names without versions that linkers look for.
toolkit=$folder/toolkit
rm -rf "$toolkit"
mkdir -p "$toolkit/lib64/stubs"
for part in bin include nvvm; do
    ln -s "$folder/wheels/nvidia/cu13/$part" "$toolkit/$part"
done
for library in "$folder"/wheels/nvidia/{cu13,nccl}/lib/lib*.so.* "$folder"/wheels/nvidia/cu13/lib/lib*.a; do
    [[ -f $library ]] || continue
    name=$(basename "$library")
    ln -s "$library" "$toolkit/lib64/$name"
    [[ $name == *.a ]] || ln -sf "$name" "$toolkit/lib64/${name%%.so.*}.so"
done

# libcuda.so.1 belongs to the driver. In its place the program gets functions of its names, which jump to where the driver's are.
# The C compiler is told what cuda.h names them: cuMemAlloc is cuMemAlloc_v2.
names=$(cc -E -P -I "$toolkit/include" -include cuda.h -x c /dev/null | tr '\n' ' ' | grep -oE 'CUresult +cu[A-Z][A-Za-z0-9_]*' | awk '{ print $2 }' | sort -u)
case $(uname -m) in
    x86_64) jump='jmp *slots+AT(%rip)' ;;
    aarch64) jump='adrp x16, slots+AT; add x16, x16, :lo12:slots+AT; ldr x16, [x16]; br x16' ;;
    *) echo "no CUDA for $(uname -m)" >&2 && exit 1 ;;
esac
{
    cat <<'C'
#include <dlfcn.h>
#include <stddef.h>
/* CUDA_ERROR_STUB_LIBRARY */
static int missing(void) { return 34; }
static int describe(int code, const char **text) {
    (void)code;
    *text = "the driver's library libcuda.so.1 can't be loaded, or lacks this function";
    return 0;
}
static const char *const names[] = {
C
    printf '    "%s",\n' $names
    printf '};\n__attribute__((visibility("hidden"))) void *slots[%d];\n' "$(wc -w <<<"$names")"
    cat <<'C'
__attribute__((constructor)) static void find(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *found = driver ? dlsym(driver, names[i]) : NULL;
        int describes = __builtin_strncmp(names[i], "cuGetError", 10) == 0;
        slots[i] = found ? found : describes ? (void *)describe : (void *)missing;
    }
}
C
    at=0
    for name in $names; do
        printf '__asm__(".text\\n.globl %s\\n.type %s, @function\\n%s: %s\\n");\n' "$name" "$name" "$name" "${jump//AT/$((8 * at))}"
        at=$((at + 1))
    done
} >"$folder/driver.c"
cc -O2 -fPIC -c "$folder/driver.c" -o "$folder/driver.o"
ar rcs "$toolkit/lib64/stubs/libcuda.a" "$folder/driver.o"

export CUDA_HOME=$toolkit NVCC=$toolkit/bin/nvcc PATH=$toolkit/bin:$PATH CUDA_COMPUTE_CAP=$cap
unset CUDA_PATH CUDA_ROOT CUDA_TOOLKIT_ROOT_DIR CUDNN_LIB
cargo rustc --release --locked --features "$features" --bin hybrid-dpo -- -C "link-arg=-Wl,-rpath,$toolkit/lib64"
ls -l "${CARGO_TARGET_DIR:-target}/release/hybrid-dpo"
