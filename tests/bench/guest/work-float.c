/* Floating point, scalar and packed and x87's; integers in vectors. Without libm, whose code differs. */
#include "work.h"

#include <string.h>

static uint64_t bits_of(double x)
{
	uint64_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

/* Five bodies, one after another: additions, products, divisions, square roots. */
static uint64_t scalar(unsigned count)
{
	enum { N = 5 };
	struct {
		double x[3], v[3], mass;
	} body[N];

	for (unsigned i = 0; i < N; i++) {
		for (unsigned k = 0; k < 3; k++) {
			body[i].x[k] = (i + 1) * 1.5 + k * 0.25;
			body[i].v[k] = (i - 2.0) * 0.125 * (k + 1);
		}
		body[i].mass = 1.0 / (i + 1);
	}
	for (unsigned step = 0; step < count * 10000; step++) {
		for (unsigned i = 0; i < N; i++) {
			for (unsigned j = i + 1; j < N; j++) {
				double d[3], square = 0.01, scale;

				for (unsigned k = 0; k < 3; k++) {
					d[k] = body[i].x[k] - body[j].x[k];
					square += d[k] * d[k];
				}
				scale = 1e-3 / (square * __builtin_sqrt(square));
				for (unsigned k = 0; k < 3; k++) {
					body[i].v[k] -= d[k] * body[j].mass * scale;
					body[j].v[k] += d[k] * body[i].mass * scale;
				}
			}
		}
		for (unsigned i = 0; i < N; i++) {
			for (unsigned k = 0; k < 3; k++)
				body[i].x[k] += 1e-3 * body[i].v[k];
		}
	}
	return bits_of(body[0].x[0]) ^ bits_of(body[4].v[2]);
}

typedef double v2d __attribute__((vector_size(16)));
typedef uint16_t v8u __attribute__((vector_size(16)));

/* Products of matrices, two doubles at a time. */
static uint64_t packed(unsigned count)
{
	enum { N = 64 };
	static v2d a[N][N / 2], b[N][N / 2];
	double sum = 0;

	for (unsigned i = 0; i < N * N; i++) {
		((double *)a)[i] = (i * 7 % 13) / 16.0;
		((double *)b)[i] = (i * 5 % 11) / 16.0;
	}
	for (unsigned round = 0; round < count; round++) {
		for (unsigned i = 0; i < N; i++) {
			v2d row[N / 2] = {0};

			for (unsigned k = 0; k < N; k++) {
				double scale = ((double *)a[i])[k];

				for (unsigned j = 0; j < N / 2; j++)
					row[j] += b[k][j] * scale;
			}
			sum = sum * 0.5 + row[round % (N / 2)][0] + row[i / 2][1];
		}
	}
	return bits_of(sum);
}

/* Two pictures, eight pixels at a time: differences, weights, shifts. */
static uint64_t vectors(unsigned count)
{
	enum { N = 2048 };
	static v8u a[N], b[N];
	v8u sum = {0};
	uint64_t out = 0;

	for (unsigned i = 0; i < N * 8; i++) {
		((uint16_t *)a)[i] = (uint16_t)(i * 31);
		((uint16_t *)b)[i] = (uint16_t)(i * i >> 4);
	}
	for (unsigned round = 0; round < count; round++) {
		for (unsigned i = 0; i < N; i++) {
			v8u low = a[i] - b[i], high = b[i] + (a[i] >> 3);

			sum += (low & 0x00ff) * 3 + (high ^ sum);
			b[i] = (v8u)(low > high) | (sum << 2);
		}
	}
	for (unsigned i = 0; i < 8; i++)
		out = out * 31 + sum[i];
	return out;
}

static uint64_t x87(unsigned count)
{
	unsigned long inside = 0;

	for (unsigned row = 0; row < count; row++) {
		for (unsigned column = 0; column < 64; column++) {
			long double re = column / 32.0L - 1.5L, im = row % 64 / 32.0L - 1.0L, x = 0,
				    y = 0;
			unsigned n = 0;

			while (n < 400 && x * x + y * y < 4) {
				long double next = x * x - y * y + re;

				y = 2 * x * y + im;
				x = next;
				n++;
			}
			inside += n;
		}
	}
	return inside;
}

const struct work work_float[] = {
	{"double", scalar}, {"packed", packed}, {"simd", vectors}, {"x87", x87}, {NULL, NULL},
};
