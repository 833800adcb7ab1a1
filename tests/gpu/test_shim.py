"""The shim itself: right kernels run as on a device, and each kind of wrong one is caught, whatever the schedule."""

from __future__ import annotations

import numpy as np
import pytest

from tests.gpu import shim

pytestmark = pytest.mark.skipif(shim.unavailable() is not None, reason=str(shim.unavailable()))
every_schedule = pytest.mark.parametrize("schedule", shim.SCHEDULES)

RIGHT = r"""
#include <cuda_fp16.h>
#include <cuda_bf16.h>

extern "C" __global__ void turn_around(const int* x, int* y) {  // a block's numbers, the last first
    __shared__ int kept[64];
    kept[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
    __syncthreads();
    y[blockIdx.x * 64 + threadIdx.x] = kept[63 - threadIdx.x];
}

extern "C" __global__ void turn_dynamic(const int* x, int* y) {
    extern __shared__ int kept[];
    kept[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = kept[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void shuffles(int* y) {
    int lane = threadIdx.x, *row = y + lane;
    row[0] = __shfl_sync(~0u, lane, 5);
    row[32] = __shfl_up_sync(~0u, lane, 3);
    row[64] = __shfl_down_sync(~0u, lane, 30);
    row[96] = __shfl_xor_sync(~0u, lane, 1);
    row[128] = __shfl_down_sync(~0u, lane, 3, 8);
    row[160] = (int)__ballot_sync(~0u, lane % 3 == 0);
}

extern "C" __global__ void within_a_warp(int* y) {  // __syncwarp orders memory, too
    __shared__ int kept[32];
    kept[threadIdx.x] = threadIdx.x;
    __syncwarp();
    y[threadIdx.x] = kept[31 - threadIdx.x];
}

extern "C" __global__ void counted(int* y) { atomicAdd(y, (int)(1 + threadIdx.x % 2)); }

extern "C" __global__ void places(int* y) {  // each thread of each block once
    long long block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    y[block * blockDim.x * blockDim.y * blockDim.z + thread] = thread + 1000 * (int)block;
}

extern "C" __global__ void halves(const __half* x, const __nv_bfloat16* z, float* y, __half* h, __nv_bfloat16* b) {
    y[0] = __half2float(x[0]);
    y[1] = __bfloat162float(z[0]);
    h[0] = __float2half_rn(1.f / 3.f);
    b[0] = __float2bfloat16_rn(1.f / 3.f);
}

template <class T> __global__ void doubled(const T* x, T* y) { y[threadIdx.x] = x[threadIdx.x] * T(2); }
"""


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "checked"])
def right(request):
    return shim.load(RIGHT, names=["doubled<float>", "doubled<double>"], checked=request.param)


@every_schedule
def test_barriers_and_shared_memory(right, schedule):
    x = np.random.default_rng(0).integers(0, 99, (3, 64)).astype(np.int32)
    y = shim.empty(x.shape, np.int32)
    right.function("turn_around")((3,), (64,), (shim.array(x), y), schedule=schedule)
    assert (y == x[:, ::-1]).all()
    right.function("turn_dynamic")((1,), (50,), (shim.array(x[0, :50]), row := shim.empty(50, np.int32)), 200)
    assert (row == x[0, 49::-1]).all()


@every_schedule
def test_what_lanes_tell_each_other(right, schedule):
    y, lane = shim.empty((6, 32), np.int32), np.arange(32)
    right.function("shuffles")((1,), (32,), (y,), schedule=schedule)
    expected = [
        np.full(32, 5), np.where(lane < 3, lane, lane - 3), np.where(lane > 1, lane, lane + 30), lane ^ 1,
        np.where(lane % 8 > 4, lane, lane + 3), np.full(32, sum(1 << k for k in range(0, 32, 3))).astype(np.int32),
    ]  # fmt: skip
    assert (y == np.stack(expected)).all()
    right.function("within_a_warp")((1,), (32,), (y[0],), schedule=schedule)
    assert (y[0] == 31 - lane).all()


@every_schedule
def test_every_thread_of_every_block_runs_once(right, schedule):
    y = shim.empty((24, 30), np.int32)
    right.function("places")((2, 3, 4), (5, 3, 2), (y,), schedule=schedule)
    assert (y == np.arange(30) + 1000 * np.arange(24)[:, None]).all()
    total = shim.array(np.zeros(1, np.int32), read_only=False)
    right.function("counted")((7,), (40,), (total,), schedule=schedule)
    assert total[0] == 7 * 60


def test_numbers_of_16_bits(right):
    y, h, b = shim.empty(2), shim.empty(1, np.float16), shim.empty(1, np.uint16)
    bf16 = np.array([1.5], np.float32).view(np.uint32) >> 16
    x = shim.array([0.1], np.float16)
    right.function("halves")((1,), (1,), (x, shim.array(bf16, np.uint16), y, h, b))
    assert y.tolist() == [np.float16(0.1), 1.5] and h[0] == np.float16(1 / 3) and b[0] == 0x3EAB


def test_templates_and_single_numbers(right):
    for name, dtype in (("doubled<float>", np.float32), ("doubled<double>", np.float64)):
        x = np.arange(5, dtype=dtype)
        right.function(name)((1,), (5,), (shim.array(x), y := shim.empty(5, dtype)))
        assert (y == 2 * x).all()


# --- what is caught --------------------------------------------------------------------------------------------------

WRONG = r"""
extern "C" __global__ void no_barrier(int* y) {
    __shared__ int kept[64];
    kept[threadIdx.x] = threadIdx.x;
    y[threadIdx.x] = kept[63 - threadIdx.x];
}
extern "C" __global__ void no_second_barrier(int* y) {
    __shared__ int kept[64];
    kept[threadIdx.x] = threadIdx.x;
    __syncthreads();
    int other = kept[63 - threadIdx.x];
    kept[threadIdx.x] = other;
    y[threadIdx.x] = other;
}
extern "C" __global__ void warps_race(int* y) {  // __syncwarp orders one warp alone
    __shared__ int kept[64];
    kept[threadIdx.x] = threadIdx.x;
    __syncwarp();
    y[threadIdx.x] = kept[63 - threadIdx.x];
}
extern "C" __global__ void shuffle_is_no_barrier(int* y) {
    __shared__ int kept[64];
    kept[threadIdx.x] = threadIdx.x;
    __shfl_xor_sync(~0u, 1, 1);
    y[threadIdx.x] = kept[threadIdx.x ^ 1];
}
extern "C" __global__ void blocks_race(int* y) { if (threadIdx.x == 0) y[0] = blockIdx.x; }
extern "C" __global__ void blocks_race_by_reading(int* y) { y[blockIdx.x] = blockIdx.x ? y[0] : 1; }
extern "C" __global__ void atomic_and_plain(int* y) { if (threadIdx.x) atomicAdd(y, 1); else y[0] = 5; }
extern "C" __global__ void divergent(int* y) { if (threadIdx.x < 32) __syncthreads(); else __syncwarp(1u); }
extern "C" __global__ void early_return(int* y) { if (threadIdx.x == 3) return; __syncthreads(); }
extern "C" __global__ void wrong_mask(int* y) { y[threadIdx.x] = __shfl_sync(0xFFFFu, 1, 0); }
extern "C" __global__ void missing_lanes(int* y) { if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(~0u, 1, 0); }
extern "C" __global__ void lane_left_out(int* y) { if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(0xFFFFu, 1, 20); }
extern "C" __global__ void behind(int* y) { y[64] = 1; }
extern "C" __global__ void before(int* y) { y[-1] = 1; }
extern "C" __global__ void reads_behind(int* y) { y[threadIdx.x] = y[64 + threadIdx.x]; }
extern "C" __global__ void far_away(int* y) { y[1 << 20] = 1; }
extern "C" __global__ void nowhere(int* y) { *(int*)8 = 1; }
extern "C" __global__ void never_written(int* y) {
    __shared__ int kept[64];
    if (threadIdx.x != 9) kept[threadIdx.x] = 1;
    __syncthreads();
    y[threadIdx.x] = kept[threadIdx.x];
}
extern "C" __global__ void reads_its_result(int* y) { y[threadIdx.x] += 1; }
"""
CAUGHT = {
    "no_barrier": "race|nobody has written", "no_second_barrier": "race", "warps_race": "race|nobody has written",
    "shuffle_is_no_barrier": "race|nobody has written", "blocks_race": "race: .* of the launch too",
    "blocks_race_by_reading": "race|nobody has written", "atomic_and_plain": "race|nobody has written",
    "divergent": "deadlock|mask that it is not in", "early_return": "returned before a __syncthreads",
    "wrong_mask": "mask that it is not in", "missing_lanes": "deadlock", "lane_left_out": "lane 20, which the mask",
    "behind": "out of range", "before": "out of range: writes 4 bytes at byte -4 of an array of 256",
    "reads_behind": "out of range", "far_away": "out of range", "nowhere": "null pointer",
    "never_written": "nobody has written", "reads_its_result": "nobody has written",
}  # fmt: skip


@pytest.fixture(scope="module")
def wrong():
    return shim.load(WRONG, checked=True)


@every_schedule
@pytest.mark.parametrize("name", CAUGHT)
def test_wrong_kernels_are_caught(wrong, name, schedule):
    with pytest.raises(shim.ShimError, match=CAUGHT[name]):
        wrong.function(name)((2,), (64,), (shim.empty(64, np.int32),), schedule=schedule)


def test_the_end_of_shared_memory():
    text = """
extern "C" __global__ void behind_shared(int* y) {
    __shared__ int kept[4];
    for (int i = 0; i < 5; i++) kept[i] = i;
    y[0] = kept[3];
}
extern "C" __global__ void behind_dynamic(int* y) {
    extern __shared__ int kept[];
    kept[4] = y[0] = 1;
}"""
    module, y = shim.load(text, checked=True), shim.empty(1, np.int32)
    for name, shared in (("behind_shared", 0), ("behind_dynamic", 16)):
        with pytest.raises(shim.ShimError, match="out of range: writes 4 bytes at byte 16 of an array of 16"):
            module.function(name)((1,), (1,), (y,), shared)


def test_guard_pages_catch_what_is_not_checked(right):
    plain = shim.load(WRONG)
    for name in ("behind", "far_away", "nowhere"):
        with pytest.raises(shim.ShimError, match="out of range"):
            plain.function(name)((1,), (1,), (shim.empty(64, np.int32),))
    beside = shim.empty(64, np.int32)
    plain.function("before")((1,), (1,), (beside,))
    assert not shim.intact(beside) and shim.intact(shim.empty(64, np.int32))


def test_memory_for_reading_only_and_memory_given_back(wrong, right):
    kept = shim.array(np.zeros(64, np.int32))
    with pytest.raises(shim.ShimError, match="may only read"):
        wrong.function("reads_its_result")((1,), (64,), (kept,))
    gone = shim.allocate(256, 4)
    shim.free(gone)
    with pytest.raises(shim.ShimError, match="out of range"):
        right.function("counted")((1,), (1,), (gone,))


def test_what_a_device_would_refuse(right):
    y = shim.empty(1, np.int32)
    for grid, block, shared, words in (
        ((1,), (1025,), 0, "1 to 1024 threads"), ((0,), (32,), 0, "at least one block"),
        ((1, 65536), (1,), 0, "65535 blocks"), ((1,), (32,), 49153, "48 KiB"),
    ):  # fmt: skip
        with pytest.raises(shim.ShimError, match=words):
            right.function("counted")(grid, block, (y,), shared)
    with pytest.raises(shim.ShimError, match="C-contiguous"):
        right.function("counted")((1,), (1,), (np.zeros((4, 4))[:, 1],))
    with pytest.raises(shim.ShimError, match="is a float"):
        right.function("counted")((1,), (1,), (1.5,))
    with pytest.raises(shim.ShimError, match="no_such_name"):
        shim.load('extern "C" __global__ void f(int* y) { y[0] = no_such_name; }')


def test_a_kernel_runs_after_one_that_failed(wrong, right):
    with pytest.raises(shim.ShimError):
        wrong.function("no_barrier")((1,), (64,), (shim.empty(64, np.int32),))
    test_barriers_and_shared_memory(right, 0)
