/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random delays at system calls, so that a test which needs another process or thread to be quick fails.
 * Preload it (LD_PRELOAD); tests/support/delays.py does.
 *
 * 1. A process draws at its first call which kinds of calls it delays, how often and how long. One of three delays none:
 *    most races need one slow side and one quick one.
 * 2. Calls that others wait for are delayed before, calls after which others act are delayed behind.
 * 3. A lock is released too often for more than a rare delay.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum kind { CONNECT, CONNECTED, ACCEPT, SEND, SENT, RECEIVE, WOKEN, LISTEN, SHUTDOWN, KILL, REAPED, UNLINK, RELEASE, FORKED, EXIT };

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
    delayed = draw() % 3 ? (unsigned)(draw() >> 20) & (unsigned)(draw() >> 20) : 0;
}

static void delay(enum kind kind)
{
    int kept = errno;

    if (drawn_by != getpid()) {
        draw_process();
    }
    if ((delayed >> kind & 1) && draw() % (kind == RELEASE ? pace.every * RARER : pace.every) == 0) {
        struct timespec pause = {.tv_nsec = (long)(draw() % pace.most)};
        nanosleep(&pause, NULL);
    }
    errno = kept;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) { \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
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
BEFORE(RELEASE, int, pthread_cond_signal, (pthread_cond_t *condition), (condition))
BEHIND(RELEASE, int, sem_post, (sem_t *semaphore), (semaphore))
BEHIND(FORKED, pid_t, fork, (void), ())

void _exit(int status)
{
    REAL(_exit)
    delay(EXIT);
    real(status);
    __builtin_unreachable();
}
