/* What a call from Python costs at least: the functions of bench_calls.py, written by hand.
   Arguments are checked as far as a careful author would: number, type, element type, sizes. */

#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <Python.h>
#include <math.h>
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>

typedef PyObject *maker(double);

static PyObject *numpy_scalar(double value) {
    PyObject *made = PyArrayScalar_New(Double);
    if (made) PyArrayScalar_VAL(made, Double) = value;
    return made;
}

/* exp(sin(x) y) + log(x^2 + y^2 + 1) cos z - x y z / (1 + exp(-z)) + sin(x y) exp(-z^2)
   + sqrt(x^2 + z^2 + 2), and its three derivatives. */
static inline PyObject *evaluate(PyObject *const *args, Py_ssize_t count, maker *make) {
    double v[3];
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "three numbers expected");
        return NULL;
    }
    for (int i = 0; i < 3; i++) {
        v[i] = PyFloat_AsDouble(args[i]);
        if (v[i] == -1.0 && PyErr_Occurred()) return NULL;
    }
    double x = v[0], y = v[1], z = v[2], sin_x, cos_x, sin_z, cos_z, sin_xy, cos_xy;
    sincos(x, &sin_x, &cos_x);
    sincos(z, &sin_z, &cos_z);
    sincos(x * y, &sin_xy, &cos_xy);
    double square = x * x + y * y + 1.0, logarithm = log(square);
    double power = exp(sin_x * y), decay = exp(-z), bell = exp(-z * z);
    double gate = 1.0 / (1.0 + decay), root = sqrt(x * x + z * z + 2.0), turn = 1.0 / root;
    double ring = 2.0 * cos_z / square, wave = cos_xy * bell;
    double found[4];
    found[0] = power + logarithm * cos_z - x * y * z * gate + sin_xy * bell + root;
    found[1] = power * cos_x * y + ring * x - y * z * gate + wave * y + x * turn;
    found[2] = power * sin_x + ring * y - x * z * gate + wave * x;
    found[3] = -logarithm * sin_z - x * y * (gate + z * decay * gate * gate)
               - 2.0 * z * sin_xy * bell + z * turn;
    PyObject *result = PyTuple_New(4);
    for (int i = 0; result && i < 4; i++) {
        PyObject *number = make(found[i]);
        if (!number) {
            Py_DECREF(result);
            return NULL;
        }
        PyTuple_SET_ITEM(result, i, number);
    }
    return result;
}

static PyObject *value_and_gradient(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    return evaluate(args, count, PyFloat_FromDouble);
}

static PyObject *numpy_results(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    return evaluate(args, count, numpy_scalar);
}

/* out[i] = 2 a[i] + b[i] on float64 arrays, by the buffer protocol. */
static PyObject *combine(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    Py_buffer b[3];
    int held = 0, fits = count == 3;
    for (; fits && held < 3; held++) {
        int flags = PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (held == 2 ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(args[held], &b[held], flags)) {
            while (held--) PyBuffer_Release(&b[held]);
            return NULL;
        }
        fits = b[held].ndim == 1 && !strcmp(b[held].format, "d") && b[held].len == b[0].len;
    }
    if (fits)
        for (Py_ssize_t i = 0; i < b[0].len / 8; i++)
            ((double *)b[2].buf)[i] = 2.0 * ((double *)b[0].buf)[i] + ((double *)b[1].buf)[i];
    while (held--) PyBuffer_Release(&b[held]);
    if (!fits) {
        PyErr_SetString(PyExc_TypeError, "three float64 arrays of one size expected");
        return NULL;
    }
    Py_INCREF(args[2]);
    return args[2];
}

static PyObject *nothing(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"value_and_gradient", (PyCFunction)(void (*)(void))value_and_gradient, METH_FASTCALL, NULL},
    {"numpy_results", (PyCFunction)(void (*)(void))numpy_results, METH_FASTCALL, NULL},
    {"combine", (PyCFunction)(void (*)(void))combine, METH_FASTCALL, NULL},
    {"nothing", (PyCFunction)(void (*)(void))nothing, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "by_hand", NULL, -1, methods,
                                    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_by_hand(void) {
    import_array();
    return PyModule_Create(&module);
}
