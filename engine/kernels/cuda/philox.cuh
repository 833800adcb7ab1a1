// Philox-4x32-10: four words of (seed, stream) from the number of their block. See engine/random.py.

typedef unsigned int Word;
typedef unsigned long long Wide;

struct Words { Word at[4]; };

// The stream of a mask: the number that was given, or in a replayed step the one that lies on the device by now.
static __device__ __forceinline__ Wide stream_now(Wide stream, const Wide* now) { return now ? *now : stream; }

static __device__ __forceinline__ Words philox(Wide seed, Wide stream, Wide block) {
    Word c0 = (Word)block, c1 = (Word)(block >> 32), c2 = (Word)stream, c3 = (Word)(stream >> 32);
    Word k0 = (Word)seed, k1 = (Word)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const Wide p0 = (Wide)0xD2511F53u * c0, p1 = (Wide)0xCD9E8D57u * c2;
        c0 = (Word)(p1 >> 32) ^ c1 ^ k0;
        c1 = (Word)p1;
        c2 = (Word)(p0 >> 32) ^ c3 ^ k1;
        c3 = (Word)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}
