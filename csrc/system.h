/* Locks, a value of each thread, and forks: those of POSIX, or of Windows. */
#ifndef LSTM_SYSTEM_H
#define LSTM_SYSTEM_H

#ifdef _WIN32

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

typedef SRWLOCK lstm_lock;
#define LSTM_LOCK_FREE SRWLOCK_INIT
static inline void lstm_lock_take(lstm_lock *lock) { AcquireSRWLockExclusive(lock); }
static inline void lstm_lock_give(lstm_lock *lock) { ReleaseSRWLockExclusive(lock); }

typedef DWORD lstm_key;
/* What a thread calls at its end with its value, if that is not NULL. */
#define LSTM_AT_THREAD_END(name, value) static void NTAPI name(void *value)
static inline int lstm_key_create(lstm_key *key, PFLS_CALLBACK_FUNCTION at_end) {
    *key = FlsAlloc(at_end);
    return *key == FLS_OUT_OF_INDEXES ? -1 : 0;
}
static inline void *lstm_key_get(lstm_key key) { return FlsGetValue(key); }
static inline int lstm_key_set(lstm_key key, void *value) { return FlsSetValue(key, value) ? 0 : -1; }

/* Windows forks no process. */
static inline int lstm_at_fork(void (*before)(void), void (*after)(void), void (*child)(void)) {
    (void)before, (void)after, (void)child;
    return 0;
}

#else

#include <pthread.h>

/* Since glibc moved these from libpthread to libc, 2.32 and 2.34, what is linked there asks for no older glibc.
 * Their first versions are in all of them. A sanitizer puts functions of its own in their place. */
#if defined(__GLIBC__) && defined(__LP64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if defined(__x86_64__)
#define LSTM_FIRST_GLIBC "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define LSTM_FIRST_GLIBC "GLIBC_2.17"
#endif
#endif
#ifdef LSTM_FIRST_GLIBC
__asm__(".symver pthread_create, pthread_create@" LSTM_FIRST_GLIBC);
__asm__(".symver pthread_sigmask, pthread_sigmask@" LSTM_FIRST_GLIBC);
__asm__(".symver pthread_key_create, pthread_key_create@" LSTM_FIRST_GLIBC);
__asm__(".symver pthread_getspecific, pthread_getspecific@" LSTM_FIRST_GLIBC);
__asm__(".symver pthread_setspecific, pthread_setspecific@" LSTM_FIRST_GLIBC);
#endif

typedef pthread_mutex_t lstm_lock;
#define LSTM_LOCK_FREE PTHREAD_MUTEX_INITIALIZER
static inline void lstm_lock_take(lstm_lock *lock) { pthread_mutex_lock(lock); }
static inline void lstm_lock_give(lstm_lock *lock) { pthread_mutex_unlock(lock); }

typedef pthread_key_t lstm_key;
#define LSTM_AT_THREAD_END(name, value) static void name(void *value)
static inline int lstm_key_create(lstm_key *key, void (*at_end)(void *value)) {
    return pthread_key_create(key, at_end);
}
static inline void *lstm_key_get(lstm_key key) { return pthread_getspecific(key); }
static inline int lstm_key_set(lstm_key key, void *value) { return pthread_setspecific(key, value); }

static inline int lstm_at_fork(void (*before)(void), void (*after)(void), void (*child)(void)) {
    return pthread_atfork(before, after, child);
}

#endif
#endif
