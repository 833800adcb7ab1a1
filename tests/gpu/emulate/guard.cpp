// Every call of CuPy's modules passes here on its way to Python, for two reasons. An exception can't leave a ctypes
// callback: it is noted (`guard_fail`) and raised from here. And CuPy's modules go on calling while Python is being taken
// down, when nothing may be called any more: after `guard_close` they get None, or 0.
// Arguments are integers and pointers. Twelve are passed on: six come in registers, the others lie on the stack, where
// what a function with fewer has not been given is read and ignored.
typedef long A;
typedef A (*Function)(A, A, A, A, A, A, A, A, A, A, A, A);
typedef void (*Raise)(void* kind, void* value);
enum { MOST = 96 };
static Function functions[MOST];
static bool gives_object[MOST], closed = false;
static A on_error[MOST];  // what says that an error is set
static long* none;  // Py_None, whose first word counts references
static Raise raise_error;
static void *failed_kind, *failed_value;

template <int I> A guarded(A a, A b, A c, A d, A e, A f, A g, A h, A i, A j, A k, A l) {
    if (closed) {
        if (!gives_object[I]) return 0;
        ++*none;
        return (A)none;
    }
    A result = functions[I](a, b, c, d, e, f, g, h, i, j, k, l);
    if (!failed_kind) return result;
    raise_error(failed_kind, failed_value);
    failed_kind = nullptr;
    return on_error[I];
}
template <int I> Function pick(int i) {
    if constexpr (I == MOST) return nullptr;
    else return i == I ? (Function)guarded<I> : pick<I + 1>(i);
}

extern "C" Function guard(int i, Function function, int object, A error, long* py_none, Raise raise) {
    if (i >= MOST) return nullptr;
    functions[i] = function;
    gives_object[i] = object;
    on_error[i] = error;
    none = py_none;
    raise_error = raise;
    return pick<0>(i);
}
extern "C" void guard_fail(void* kind, void* value) { failed_kind = kind, failed_value = value; }
extern "C" void guard_close() { closed = true; }
