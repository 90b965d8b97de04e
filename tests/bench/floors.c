/* What the hardware allows: workloads written by hand, each array read as often as it must be,
   and passes over the same memory with next to no arithmetic. Loops are left to the compiler to
   vectorize, parallel ones to OpenMP; results lie in arrays that are there before. */

#include <math.h>
#include <string.h>

enum { ROWS = 64, FEATURES = 1024, WIDTH = 1024 };

/* Mean of log(1 + exp z) - t z, z = X w + b, and its gradient to w and b (in g[m]). Rows are
   read once: a block of them stays in the nearest cache until its gradient is summed. */
float logistic(const float *X, const float *w, float b, const float *t, float *g, long n, long m) {
    double total = 0, slopes = 0;
    double sums[FEATURES] = {0};
#pragma omp parallel for reduction(+ : total, slopes, sums) schedule(static)
    for (long start = 0; start < n; start += ROWS) {
        long rows = n - start < ROWS ? n - start : ROWS;
        float z[ROWS], part[FEATURES] = {0}, loss = 0, slope = 0;
        for (long i = 0; i < rows; i++) {
            const float *row = X + (start + i) * m;
            float dot = b;
            for (long j = 0; j < m; j++) dot += row[j] * w[j];
            z[i] = dot;
        }
        for (long i = 0; i < rows; i++) {
            float e = expf(-fabsf(z[i])), s = 1 / (1 + e);
            loss += fmaxf(z[i], 0) + log1pf(e) - t[start + i] * z[i];
            z[i] = (z[i] < 0 ? 1 - s : s) - t[start + i];
            slope += z[i];
        }
        for (long i = 0; i < rows; i++) {
            const float *row = X + (start + i) * m;
            for (long j = 0; j < m; j++) part[j] += z[i] * row[j];
        }
        total += loss;
        slopes += slope;
        for (long j = 0; j < m; j++) sums[j] += part[j];
    }
    for (long j = 0; j < m; j++) g[j] = sums[j] / n;
    g[m] = slopes / n;
    return total / n;
}

/* A step of gradient descent on one example through three layers with relu between them;
   sizes[4], a weight (n, m) and a bias for each layer. Weights are read forward once, and once
   backward, when they are updated. */
float step(float *const *params, const long *sizes, const float *x, long label, float rate) {
    static float layers[4][WIDTH], slopes[4][WIDTH];
    memcpy(layers[0], x, sizes[0] * sizeof(float));
    for (int k = 0; k < 3; k++) {
        const float *W = params[2 * k], *in = layers[k];
        float *out = layers[k + 1];
        long n = sizes[k], m = sizes[k + 1];
#pragma omp parallel for schedule(static)
        for (long start = 0; start < m; start += 256) {
            long stop = start + 256 < m ? start + 256 : m;
            float sum[256];
            for (long j = start; j < stop; j++) sum[j - start] = params[2 * k + 1][j];
            for (long i = 0; i < n; i++)
                for (long j = start; j < stop; j++) sum[j - start] += in[i] * W[i * m + j];
            for (long j = start; j < stop; j++)
                out[j] = k < 2 ? fmaxf(sum[j - start], 0) : sum[j - start];
        }
    }
    float *z = layers[3], *g = slopes[3], top = z[0], total = 0;
    for (long j = 0; j < sizes[3]; j++) top = fmaxf(top, z[j]);
    for (long j = 0; j < sizes[3]; j++) total += g[j] = expf(z[j] - top);
    for (long j = 0; j < sizes[3]; j++) g[j] = g[j] / total - (j == label);
    float loss = logf(total) + top - z[label];
    for (int k = 2; k >= 0; k--) {
        float *W = params[2 * k], *back = slopes[k];
        const float *ahead = slopes[k + 1];
        long n = sizes[k], m = sizes[k + 1];
#pragma omp parallel for schedule(static)
        for (long i = 0; i < n; i++) {
            float dot = 0, scaled = rate * layers[k][i];
            for (long j = 0; j < m; j++) {
                float weight = W[i * m + j];
                dot += weight * ahead[j];
                W[i * m + j] = weight - scaled * ahead[j];
            }
            back[i] = layers[k][i] > 0 ? dot : 0;
        }
        for (long j = 0; j < m; j++) params[2 * k + 1][j] -= rate * ahead[j];
    }
    return loss;
}

/* Sum of z s tanh y with z = a x + b and s = sigmoid z, and its gradients. */
float swish(const float *x, const float *y, float *gx, float *gy, long n, float a, float b) {
    double total = 0;
#pragma omp parallel for reduction(+ : total) schedule(static) if (n > 20000)
    for (long start = 0; start < n; start += 4096) {
        long stop = start + 4096 < n ? start + 4096 : n;
        float sum = 0;
        for (long i = start; i < stop; i++) {
            float z = a * x[i] + b, s = 1 / (1 + expf(-z)), t = tanhf(y[i]), w = z * s;
            sum += w * t;
            gx[i] = a * t * (s + w * (1 - s));
            gy[i] = w * (1 - t * t);
        }
        total += sum;
    }
    return total;
}

float distance(const float *x, const float *y, long n) {
    double total = 0;
#pragma omp parallel for reduction(+ : total) schedule(static) if (n > 50000)
    for (long start = 0; start < n; start += 4096) {
        long stop = start + 4096 < n ? start + 4096 : n;
        float sum = 0;
        for (long i = start; i < stop; i++) sum += (x[i] - y[i]) * (x[i] - y[i]);
        total += sum;
    }
    return sqrt(total);
}

/* Memory alone: reading an array; reading and writing it in place; two arrays into two. */

float reading(const float *x, long n) {
    float total = 0;
#pragma omp parallel for reduction(+ : total) schedule(static) if (n > 50000)
    for (long i = 0; i < n; i++) total += x[i];
    return total;
}

void updating(float *x, long n) {
#pragma omp parallel for schedule(static) if (n > 50000)
    for (long i = 0; i < n; i++) x[i] = 0.5f * x[i] + 1;
}

void passing(const float *x, const float *y, float *p, float *q, long n) {
#pragma omp parallel for schedule(static) if (n > 50000)
    for (long i = 0; i < n; i++) {
        p[i] = x[i] + y[i];
        q[i] = x[i] - y[i];
    }
}
