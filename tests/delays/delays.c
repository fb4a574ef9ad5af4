/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random delays at system calls, so that a test which needs another process or thread to be quick fails.
 * Preload it (LD_PRELOAD); tests/support/delays.py does, and tests/support/guests.py in the containers of real QEMU.
 *
 * 1. A process draws at its first call which kinds of calls it delays, how often and how long. One of three delays none:
 *    most races need one slow side and one quick one.
 * 2. Calls that others wait for are delayed before, calls after which others act are delayed behind.
 * 3. A lock is taken and released too often for more than a rare delay, and nobody waits for a plain file.
 * 4. It loads with glibc 2.31 and later: no symbol that it needs is newer, whatever it is built with. The versions of what it
 *    looks up are named, because before 2.36 dlsym(RTLD_NEXT) finds the oldest condition variables, which are others.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

__asm__(".symver dlsym,dlsym@GLIBC_2.2.5");   /* rule 4 */
__asm__(".symver dlvsym,dlvsym@GLIBC_2.2.5");

enum kind {
    CONNECT, CONNECTED, ACCEPT, SEND, SENT, RECEIVE, WOKEN, LISTEN, SHUTDOWN, KILL, REAPED, UNLINK, RELEASE, FORKED, EXIT,
    WRITE, WRITTEN, READ, SIGNALLED, LOCKED, THREAD, NONE,
};

/* one delay in so many calls, of at most so many nanoseconds: rare ones are long */
static const struct pace { unsigned every; uint64_t most; } PACES[] = {
    {3, 2000000}, {10, 10000000}, {40, 60000000}, {200, 300000000},
};
enum { RARER = 200 }; /* rule 3 */

static pid_t drawn_by;
static unsigned delayed;
static struct pace pace;

/* xorshift64 of each thread; the clock and the thread's stack make its seed */
static uint64_t draw(void)
{
    static __thread uint64_t state;
    static __thread pid_t of;

    if (of != getpid()) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        of = getpid();
        state = ((uint64_t)now.tv_nsec * 0x9e3779b97f4a7c15u ^ (uint64_t)of << 32 ^ (uintptr_t)&now) | 1;
    }
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void draw_process(void)
{
    drawn_by = getpid();
    pace = PACES[draw() % (sizeof(PACES) / sizeof(PACES[0]))];
    delayed = draw() % 3 ? (unsigned)(draw() >> 20) & (unsigned)(draw() >> 20) & ((1u << NONE) - 1) : 0;
}

static void delay(enum kind kind)
{
    int kept = errno;

    if (drawn_by != getpid()) {
        draw_process();
    }
    if ((delayed >> kind & 1) && draw() % (kind == RELEASE || kind == LOCKED ? pace.every * RARER : pace.every) == 0) {
        struct timespec pause = {.tv_nsec = (long)(draw() % pace.most)};
        nanosleep(&pause, NULL);
    }
    errno = kept;
}

/* the kind of a call for what others may wait at: a pipe, a socket, an eventfd (rule 3) */
static enum kind shared(int fd, enum kind kind)
{
    struct statx found; /* fstat would be newer (rule 4) */
    int kept = errno;
    int plain = statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &found) || S_ISREG(found.stx_mode);

    errno = kept;
    return plain ? NONE : kind;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) { \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
    }

/* condition variables of glibc 2.3.2 (rule 4) */
#define REAL_CONDITION(name) \
    static __typeof__(&name) real; \
    if (!real) { \
        real = (__typeof__(&name))dlvsym(RTLD_NEXT, #name, "GLIBC_2.3.2"); \
    }

#define BEFORE(kind, type, name, parameters, arguments) \
    type name parameters { REAL(name) delay(kind); return real arguments; }

#define BEHIND(kind, type, name, parameters, arguments) \
    type name parameters { REAL(name) type found = real arguments; delay(kind); return found; }

#define AROUND(first, then, type, name, parameters, arguments) \
    type name parameters { REAL(name) delay(first); type found = real arguments; delay(then); return found; }

AROUND(CONNECT, CONNECTED, int, connect, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size))
BEFORE(ACCEPT, int, accept, (int fd, struct sockaddr *from, socklen_t *size), (fd, from, size))
BEFORE(ACCEPT, int, accept4, (int fd, struct sockaddr *from, socklen_t *size, int flags), (fd, from, size, flags))
AROUND(SEND, SENT, ssize_t, send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags))
AROUND(SEND, SENT, ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
BEFORE(RECEIVE, ssize_t, recv, (int fd, void *data, size_t size, int flags), (fd, data, size, flags))
BEFORE(RECEIVE, ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
BEHIND(WOKEN, int, epoll_wait, (int fd, struct epoll_event *events, int most, int wait), (fd, events, most, wait))
BEHIND(WOKEN, int, poll, (struct pollfd *fds, nfds_t count, int wait), (fds, count, wait))
AROUND(LISTEN, LISTEN, int, listen, (int fd, int most), (fd, most))
BEFORE(SHUTDOWN, int, shutdown, (int fd, int how), (fd, how))
AROUND(KILL, KILL, int, kill, (pid_t process, int number), (process, number))
BEHIND(REAPED, pid_t, waitpid, (pid_t process, int *status, int options), (process, status, options))
BEFORE(UNLINK, int, unlink, (const char *path), (path))
BEHIND(WOKEN, int, ppoll, (struct pollfd *fds, nfds_t count, const struct timespec *wait, const sigset_t *mask),
       (fds, count, wait, mask))
AROUND(shared(fd, WRITE), shared(fd, WRITTEN), ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
AROUND(shared(fd, WRITE), shared(fd, WRITTEN), ssize_t, writev, (int fd, const struct iovec *data, int count),
       (fd, data, count))
BEFORE(shared(fd, READ), ssize_t, read, (int fd, void *data, size_t size), (fd, data, size))
BEHIND(RELEASE, int, sem_post, (sem_t *semaphore), (semaphore))
BEHIND(SIGNALLED, int, sem_wait, (sem_t *semaphore), (semaphore))
AROUND(RELEASE, RELEASE, int, pthread_mutex_unlock, (pthread_mutex_t *lock), (lock))
BEFORE(LOCKED, int, pthread_mutex_lock, (pthread_mutex_t *lock), (lock))
BEHIND(FORKED, pid_t, fork, (void), ())

/* QEMU's waits without a lock; the kernel looks at no more arguments than a call has */
long syscall(long number, ...)
{
    REAL(syscall)
    long given[6];
    va_list list;

    va_start(list, number);
    for (int at = 0; at < 6; at++) {
        given[at] = va_arg(list, long);
    }
    va_end(list);
    long found = real(number, given[0], given[1], given[2], given[3], given[4], given[5]);
    if (number == SYS_futex) {
        delay(SIGNALLED);
    }
    return found;
}

struct start { void *(*routine)(void *); void *argument; };

static void *started(void *given)
{
    struct start start = *(struct start *)given;

    free(given);
    delay(THREAD);
    return start.routine(start.argument);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*routine)(void *), void *argument)
{
    REAL(pthread_create)
    struct start *start = malloc(sizeof(*start));

    if (!start) {
        return EAGAIN;
    }
    *start = (struct start){routine, argument};
    int found = real(thread, attributes, started, start);
    if (found) {
        free(start);
    }
    delay(THREAD);
    return found;
}

void _exit(int status)
{
    REAL(_exit)
    delay(EXIT);
    real(status);
    __builtin_unreachable();
}

#undef REAL
#define REAL REAL_CONDITION
BEFORE(RELEASE, int, pthread_cond_signal, (pthread_cond_t *condition), (condition))
BEFORE(RELEASE, int, pthread_cond_broadcast, (pthread_cond_t *condition), (condition))
BEHIND(SIGNALLED, int, pthread_cond_wait, (pthread_cond_t *condition, pthread_mutex_t *lock), (condition, lock))
BEHIND(SIGNALLED, int, pthread_cond_timedwait,
       (pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *until), (condition, lock, until))
