/* Three kernels, the same source for the native program and for the module: kernels NAME [SIZE]. The checksum that each prints is
 * what the two must agree on. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Points of a square that a square function keeps within 2 for 200 steps. */
static uint64_t mandelbrot(int side) {
    uint64_t sum = 0;
    for (int row = 0; row < side; row++) {
        for (int column = 0; column < side; column++) {
            double a = 3.0 * column / side - 2.0, b = 2.4 * row / side - 1.2;
            double x = 0, y = 0;
            int step = 0;
            while (step < 200 && x * x + y * y <= 4.0) {
                double next = x * x - y * y + a;
                y = 2.0 * x * y + b;
                x = next;
                step++;
            }
            sum += (uint64_t)step * (uint64_t)(row ^ column);
        }
    }
    return sum;
}

static const uint32_t ROUNDS[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t right(uint32_t word, int bits) { return word >> bits | word << (32 - bits); }

static void compress(uint32_t state[8], const uint32_t block[16]) {
    uint32_t w[64];
    memcpy(w, block, 64);
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = right(w[i - 15], 7) ^ right(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = right(w[i - 2], 17) ^ right(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = h + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS[i] + w[i];
        uint32_t t2 = (right(a, 2) ^ right(a, 13) ^ right(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

/* The least digest among those of so many nonces. */
static uint64_t nonces(uint32_t count) {
    uint64_t least = UINT64_MAX;
    uint32_t block[16] = {0x67726973, 0x746d696c, 0, 0x80000000};
    block[15] = 96;
    for (uint32_t nonce = 0; nonce < count; nonce++) {
        uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
        block[2] = nonce;
        compress(state, block);
        uint64_t front = (uint64_t)state[0] << 32 | state[1];
        if (front < least) least = front;
    }
    return least;
}

static uint64_t random_state = 88172645463325252u;

static double uniform(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) * 0x1p-53;
}

/* The price of a call on the mean of 12 months, from so many paths; two normals at a time, by the polar method. */
static double option_price(int paths) {
    const double step_drift = (0.03 - 0.5 * 0.2 * 0.2) / 12, step_spread = 0.2 * sqrt(1.0 / 12);
    double sum = 0;
    for (int path = 0; path < paths; path++) {
        double price = 100, mean = 0;
        for (int month = 0; month < 12; month += 2) {
            double u, v, s;
            do {
                u = 2 * uniform() - 1;
                v = 2 * uniform() - 1;
                s = u * u + v * v;
            } while (s >= 1 || s == 0);
            double scale = sqrt(-2 * log(s) / s);
            price *= exp(step_drift + step_spread * u * scale);
            mean += price;
            price *= exp(step_drift + step_spread * v * scale);
            mean += price;
        }
        mean /= 12;
        if (mean > 100) sum += mean - 100;
    }
    return sum / paths * exp(-0.03);
}

int main(int count, char **arguments) {
    const char *name = count > 1 ? arguments[1] : "";
    int size = count > 2 ? atoi(arguments[2]) : 0;
    if (!strcmp(name, "mandelbrot"))
        printf("%llu\n", (unsigned long long)mandelbrot(size ? size : 1200));
    else if (!strcmp(name, "sha256"))
        printf("%llu\n", (unsigned long long)nonces(size ? (uint32_t)size : 6000000));
    else if (!strcmp(name, "option"))
        /* Fewer digits than a double has: the two libraries' logarithms may differ in the last one. */
        printf("%.9f\n", option_price(size ? size : 1500000));
    else if (strcmp(name, "none")) {
        fprintf(stderr, "usage: kernels mandelbrot|sha256|option|none [SIZE]\n");
        return 2;
    }
    return 0;
}
