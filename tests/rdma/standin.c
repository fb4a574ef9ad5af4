/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RDMA for a host without a device: the functions of librdmacm and libibverbs that QEMU's migration calls, over TCP.
 * Preload it (LD_PRELOAD), and QEMU's own code for `rdma:` addresses runs.
 *
 * 1. A queue pair is one TCP connection. What it carries is told in README.md.
 * 2. A thread for each connection reads its frames: a WRITE goes into the memory that its key stands for, a SEND waits
 *    for a posted receive, as a reliable queue pair does, and so holds up what comes behind it.
 * 3. A work request of the sender is complete when the kernel has its bytes: nothing overtakes them.
 * 4. Channels of events are pipes of pointers, so that they can be polled.
 * 5. A frame that no device would send, or a key or range that is not registered, ends the connection.
 *
 * The layouts of all structures are those of <infiniband/verbs.h> and <rdma/rdma_cma.h>; their first member is the
 * library's structure, so that a pointer to one is a pointer to the other.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#undef ibv_query_port
#undef ibv_reg_mr

enum { CONNECT = 1, ACCEPT, REJECT, SEND, WRITE }; /* kinds of frames */
enum { PRIVATE = 256, TOLD = 56, LONGEST = 1 << 30, KEYS = 1 << 20 };

struct head { /* of a frame, in network byte order */
    uint32_t kind, length;
};

struct where { /* the beginning of a WRITE, in network byte order */
    uint64_t address;
    uint32_t rkey, unused;
};

struct completion {
    struct completion *next;
    struct ibv_wc wc;
};

struct cq {
    struct ibv_cq ibv;
    pthread_mutex_t lock;
    struct completion *first, **last;
    bool armed;
    struct ibv_comp_channel *channel;
};

struct receive {
    struct receive *next;
    uint64_t wr_id;
    struct ibv_sge sge;
};

struct qp {
    struct ibv_qp ibv;
    pthread_mutex_t lock, sending;
    pthread_cond_t posted;
    struct receive *first, **last;
    int fd;       /* -1 before the connection */
    bool closing; /* nobody posts any more */
};

struct comp_channel {
    struct ibv_comp_channel ibv;
    int write_end;
};

struct event_channel {
    struct rdma_event_channel cma;
    int write_end;
    pthread_mutex_t lock;
    int users; /* the owner, and identifiers: their threads may outlive what the owner has */
    bool closed;
};

struct id {
    struct rdma_cm_id cma;
    int fd; /* of a listener, or of a connection that has no queue pair yet; -1 */
    bool has_thread;
    pthread_t thread;
    uint8_t ours[PRIVATE], theirs[PRIVATE]; /* private data, zero behind what came */
    struct rdma_conn_param asked;           /* with `ours` */
};

static struct ibv_device device = {
    .node_type = IBV_NODE_RNIC,
    .transport_type = IBV_TRANSPORT_IWARP,
    .name = "standin0",
    .dev_name = "uverbs0",
    .dev_path = "none",
    .ibdev_path = "none",
};

/* -- completions -- */

static void complete(struct ibv_cq *ibv, uint64_t wr_id, enum ibv_wc_opcode opcode, enum ibv_wc_status status,
                     uint32_t length, struct ibv_qp *qp)
{
    struct cq *cq = (struct cq *)ibv;
    struct completion *new = calloc(1, sizeof(*new));

    new->wc = (struct ibv_wc){
        .wr_id = wr_id, .status = status, .opcode = opcode, .byte_len = length, .qp_num = qp->qp_num};
    pthread_mutex_lock(&cq->lock);
    *cq->last = new;
    cq->last = &new->next;
    if (cq->armed && cq->channel) {
        cq->armed = false;
        if (write(((struct comp_channel *)cq->channel)->write_end, &ibv, sizeof(ibv)) != sizeof(ibv))
            abort(); /* a pipe of pointers with fewer of them than fit */
    }
    pthread_mutex_unlock(&cq->lock);
}

static int poll_cq(struct ibv_cq *ibv, int most, struct ibv_wc *wc)
{
    struct cq *cq = (struct cq *)ibv;
    int count = 0;

    pthread_mutex_lock(&cq->lock);
    for (struct completion *one; count < most && (one = cq->first); count++) {
        wc[count] = one->wc;
        if (!(cq->first = one->next))
            cq->last = &cq->first;
        free(one);
    }
    pthread_mutex_unlock(&cq->lock);
    return count;
}

static int req_notify_cq(struct ibv_cq *ibv, int solicited_only)
{
    struct cq *cq = (struct cq *)ibv;

    (void)solicited_only;
    pthread_mutex_lock(&cq->lock);
    cq->armed = true;
    pthread_mutex_unlock(&cq->lock);
    return 0;
}

/* -- memory -- */

static struct ibv_mr *regions[KEYS]; /* by key */
static uint32_t next_key = 1;
static pthread_rwlock_t regions_lock = PTHREAD_RWLOCK_INITIALIZER;

struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *address, size_t length, int access)
{
    struct ibv_mr *mr = NULL;

    (void)access;
    pthread_rwlock_wrlock(&regions_lock);
    if (next_key < KEYS && (mr = calloc(1, sizeof(*mr)))) {
        *mr = (struct ibv_mr){.context = pd->context, .pd = pd, .addr = address, .length = length};
        mr->lkey = mr->rkey = mr->handle = next_key;
        regions[next_key++] = mr;
    } else
        errno = ENOMEM;
    pthread_rwlock_unlock(&regions_lock);
    return mr;
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
    pthread_rwlock_wrlock(&regions_lock);
    regions[mr->rkey] = NULL;
    pthread_rwlock_unlock(&regions_lock);
    free(mr);
    return 0;
}

/* -- bytes -- */

static bool take(int fd, void *to, size_t length)
{
    while (length) {
        ssize_t got = recv(fd, to, length, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to = (char *)to + got;
        length -= got;
    }
    return true;
}

static bool give(int fd, struct iovec *parts, int count)
{
    while (count) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t gone = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (gone < 0 && errno == EINTR)
            continue;
        if (gone < 0)
            return false;
        for (; count && (size_t)gone >= parts->iov_len; parts++, count--)
            gone -= parts->iov_len;
        if (count) {
            parts->iov_base = (char *)parts->iov_base + gone;
            parts->iov_len -= gone;
        }
    }
    return true;
}

/* -- queue pairs -- */

static int post_send(struct ibv_qp *ibv, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
    struct qp *qp = (struct qp *)ibv;

    for (; wr; wr = wr->next) {
        bool is_write = wr->opcode == IBV_WR_RDMA_WRITE;
        if ((!is_write && wr->opcode != IBV_WR_SEND) || wr->num_sge != 1) {
            *bad = wr;
            return EINVAL;
        }
        struct where where = {htobe64(wr->wr.rdma.remote_addr), htonl(wr->wr.rdma.rkey), 0};
        uint32_t before = is_write ? sizeof(where) : 0;
        struct head head = {htonl(is_write ? WRITE : SEND), htonl(before + wr->sg_list->length)};
        struct iovec parts[] = {
            {&head, sizeof(head)}, {&where, before}, {(void *)wr->sg_list->addr, wr->sg_list->length}};
        pthread_mutex_lock(&qp->sending);
        bool sent = qp->fd >= 0 && give(qp->fd, parts, 3);
        pthread_mutex_unlock(&qp->sending);
        complete(ibv->send_cq, wr->wr_id, is_write ? IBV_WC_RDMA_WRITE : IBV_WC_SEND,
                 sent ? IBV_WC_SUCCESS : IBV_WC_WR_FLUSH_ERR, wr->sg_list->length, ibv);
    }
    return 0;
}

static int post_recv(struct ibv_qp *ibv, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    struct qp *qp = (struct qp *)ibv;

    for (; wr; wr = wr->next) {
        struct receive *new = wr->num_sge == 1 ? calloc(1, sizeof(*new)) : NULL;
        if (!new) {
            *bad = wr;
            return EINVAL;
        }
        *new = (struct receive){.wr_id = wr->wr_id, .sge = *wr->sg_list};
        pthread_mutex_lock(&qp->lock);
        *qp->last = new;
        qp->last = &new->next;
        pthread_cond_signal(&qp->posted);
        pthread_mutex_unlock(&qp->lock);
    }
    return 0;
}

/* The next posted receive; waits for one unless `at_once`. NULL when there is none and none will come. */
static struct receive *next_receive(struct qp *qp, bool at_once)
{
    struct receive *one;

    pthread_mutex_lock(&qp->lock);
    while (!(one = qp->first) && !at_once && !qp->closing)
        pthread_cond_wait(&qp->posted, &qp->lock);
    if (one && !(qp->first = one->next))
        qp->last = &qp->first;
    pthread_mutex_unlock(&qp->lock);
    return one;
}

static bool receive_send(struct qp *qp, uint32_t length)
{
    struct receive *one = next_receive(qp, false);
    bool fits = one && one->sge.length >= length && take(qp->fd, (void *)one->sge.addr, length);

    if (one)
        complete(qp->ibv.recv_cq, one->wr_id, IBV_WC_RECV, fits ? IBV_WC_SUCCESS : IBV_WC_LOC_LEN_ERR, length,
                 &qp->ibv);
    free(one);
    return fits;
}

static bool receive_write(struct qp *qp, uint32_t length)
{
    struct where where;
    bool done = false;

    if (length < sizeof(where) || !take(qp->fd, &where, sizeof(where)))
        return false;
    length -= sizeof(where);
    uint32_t key = ntohl(where.rkey);
    uint64_t address = be64toh(where.address);

    /* Held while the bytes come, so that nobody unregisters, and unmaps, what they go to. */
    pthread_rwlock_rdlock(&regions_lock);
    struct ibv_mr *mr = key < KEYS ? regions[key] : NULL;
    uint64_t start = mr ? (uint64_t)mr->addr : 0;
    if (mr && address >= start && length <= mr->length && address - start <= mr->length - length)
        done = take(qp->fd, (void *)address, length);
    pthread_rwlock_unlock(&regions_lock);
    return done;
}

static bool receive_frame(struct qp *qp)
{
    struct head head;

    if (!take(qp->fd, &head, sizeof(head)) || ntohl(head.length) > LONGEST)
        return false;
    if (ntohl(head.kind) == SEND)
        return receive_send(qp, ntohl(head.length));
    return ntohl(head.kind) == WRITE && receive_write(qp, ntohl(head.length));
}

/* -- events -- */

static void tell(struct id *id, struct rdma_cm_id *listener, enum rdma_cm_event_type what, int status)
{
    struct rdma_cm_event *event = calloc(1, sizeof(*event));
    struct event_channel *channel = (struct event_channel *)id->cma.channel;

    event->id = &id->cma;
    event->listen_id = listener;
    event->event = what;
    event->status = status;
    event->param.conn.private_data = id->theirs;
    event->param.conn.private_data_len = TOLD;
    pthread_mutex_lock(&channel->lock);
    if (channel->closed)
        free(event);
    else if (write(channel->write_end, &event, sizeof(event)) != sizeof(event))
        abort(); /* as in complete() */
    pthread_mutex_unlock(&channel->lock);
}

static void use(struct event_channel *channel, int more)
{
    pthread_mutex_lock(&channel->lock);
    bool last = !(channel->users += more);
    pthread_mutex_unlock(&channel->lock);
    if (last)
        free(channel);
}

static void disconnected(struct id *id)
{
    struct qp *qp = (struct qp *)id->cma.qp;

    shutdown(qp->fd, SHUT_RDWR);
    tell(id, NULL, RDMA_CM_EVENT_DISCONNECTED, 0);
    for (struct receive *one; (one = next_receive(qp, true)); free(one))
        complete(qp->ibv.recv_cq, one->wr_id, IBV_WC_RECV, IBV_WC_WR_FLUSH_ERR, 0, &qp->ibv);
}

/* The thread of a connection that is agreed on. */
static void *serve(void *opaque)
{
    struct id *id = opaque;

    while (receive_frame((struct qp *)id->cma.qp))
        ;
    disconnected(id);
    return NULL;
}

/* Send a CONNECT or ACCEPT with the caller's private data. */
static bool greet(int fd, uint32_t kind, const struct rdma_conn_param *param)
{
    uint32_t length = param && param->private_data ? param->private_data_len : 0;
    struct head head = {htonl(kind), htonl(length)};
    struct iovec parts[] = {{&head, sizeof(head)}, {length ? (void *)param->private_data : NULL, length}};

    return give(fd, parts, 2);
}

/* Take such a frame. */
static bool greeted(int fd, uint32_t kind, struct id *id)
{
    struct head head;

    return take(fd, &head, sizeof(head)) && ntohl(head.kind) == kind && ntohl(head.length) <= PRIVATE &&
           take(fd, id->theirs, ntohl(head.length));
}

static void without_delay(int fd)
{
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static socklen_t length_of(const struct sockaddr *address)
{
    return address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/* The thread of the connecting side, until it is agreed on. */
static void *connecting(void *opaque)
{
    struct id *id = opaque;
    struct qp *qp = (struct qp *)id->cma.qp;
    struct sockaddr *there = &id->cma.route.addr.dst_addr;

    if (connect(qp->fd, there, length_of(there))) {
        tell(id, NULL, RDMA_CM_EVENT_UNREACHABLE, -errno);
        return NULL;
    }
    without_delay(qp->fd);
    if (!greet(qp->fd, CONNECT, &id->asked) || !greeted(qp->fd, ACCEPT, id)) {
        tell(id, NULL, RDMA_CM_EVENT_REJECTED, -ECONNREFUSED);
        return NULL;
    }
    tell(id, NULL, RDMA_CM_EVENT_ESTABLISHED, 0);
    return serve(id);
}

static struct id *new_id(struct rdma_event_channel *channel, void *context, enum rdma_port_space ps)
{
    struct id *id = calloc(1, sizeof(*id));

    id->cma.channel = channel;
    use((struct event_channel *)channel, 1);
    id->cma.context = context;
    id->cma.ps = ps;
    id->cma.port_num = 1;
    id->fd = -1;
    return id;
}

static struct ibv_context context = {
    .device = &device,
    .ops = {.poll_cq = poll_cq, .req_notify_cq = req_notify_cq, .post_send = post_send, .post_recv = post_recv},
    .cmd_fd = -1,
    .async_fd = -1,
    .num_comp_vectors = 1,
    .mutex = PTHREAD_MUTEX_INITIALIZER,
};

/* The thread of a listener. */
static void *listening(void *opaque)
{
    struct id *listener = opaque;

    for (int fd; (fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        struct id *id = new_id(listener->cma.channel, listener->cma.context, listener->cma.ps);
        id->cma.verbs = &context;
        id->fd = fd;
        without_delay(fd);
        if (greeted(fd, CONNECT, id))
            tell(id, &listener->cma, RDMA_CM_EVENT_CONNECT_REQUEST, 0);
        else
            rdma_destroy_id(&id->cma);
    }
    return NULL;
}

static int start(struct id *id, void *(*body)(void *))
{
    int error = pthread_create(&id->thread, NULL, body, id);

    id->has_thread = !error;
    errno = error;
    return error ? -1 : 0;
}

/* -- librdmacm -- */

struct rdma_event_channel *rdma_create_event_channel(void)
{
    struct event_channel *channel = calloc(1, sizeof(*channel));
    int ends[2];

    if (pipe2(ends, O_CLOEXEC)) {
        free(channel);
        return NULL;
    }
    channel->cma.fd = ends[0];
    channel->write_end = ends[1];
    channel->users = 1;
    pthread_mutex_init(&channel->lock, NULL);
    return &channel->cma;
}

void rdma_destroy_event_channel(struct rdma_event_channel *cma)
{
    struct event_channel *channel = (struct event_channel *)cma;

    pthread_mutex_lock(&channel->lock);
    channel->closed = true;
    close(cma->fd);
    close(channel->write_end);
    pthread_mutex_unlock(&channel->lock);
    use(channel, -1);
}

int rdma_get_cm_event(struct rdma_event_channel *channel, struct rdma_cm_event **event)
{
    ssize_t got;

    do
        got = read(channel->fd, event, sizeof(*event));
    while (got < 0 && errno == EINTR);
    return got == sizeof(*event) ? 0 : -1;
}

int rdma_ack_cm_event(struct rdma_cm_event *event)
{
    free(event);
    return 0;
}

const char *rdma_event_str(enum rdma_cm_event_type event)
{
    static const char *const names[] = {
        [RDMA_CM_EVENT_ADDR_RESOLVED] = "RDMA_CM_EVENT_ADDR_RESOLVED",
        [RDMA_CM_EVENT_ROUTE_RESOLVED] = "RDMA_CM_EVENT_ROUTE_RESOLVED",
        [RDMA_CM_EVENT_CONNECT_REQUEST] = "RDMA_CM_EVENT_CONNECT_REQUEST",
        [RDMA_CM_EVENT_UNREACHABLE] = "RDMA_CM_EVENT_UNREACHABLE",
        [RDMA_CM_EVENT_REJECTED] = "RDMA_CM_EVENT_REJECTED",
        [RDMA_CM_EVENT_ESTABLISHED] = "RDMA_CM_EVENT_ESTABLISHED",
        [RDMA_CM_EVENT_DISCONNECTED] = "RDMA_CM_EVENT_DISCONNECTED",
    };

    if ((size_t)event < sizeof(names) / sizeof(*names) && names[event])
        return names[event];
    return "UNKNOWN EVENT";
}

int rdma_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *opaque,
                   enum rdma_port_space ps)
{
    *id = &new_id(channel, opaque, ps)->cma;
    return 0;
}

int rdma_destroy_id(struct rdma_cm_id *cma)
{
    struct id *id = (struct id *)cma;

    if (id->fd >= 0)
        shutdown(id->fd, SHUT_RDWR); /* wakes the listener's thread */
    if (id->has_thread)
        pthread_join(id->thread, NULL);
    if (id->fd >= 0)
        close(id->fd);
    use((struct event_channel *)cma->channel, -1);
    free(id);
    return 0;
}

int rdma_set_option(struct rdma_cm_id *id, int level, int name, void *value, size_t length)
{
    (void)id, (void)level, (void)name, (void)value, (void)length;
    return 0; /* an address is reused in any case */
}

int rdma_bind_addr(struct rdma_cm_id *cma, struct sockaddr *address)
{
    struct id *id = (struct id *)cma;

    id->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (id->fd < 0)
        return -1;
    setsockopt(id->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    memcpy(&cma->route.addr.src_addr, address, length_of(address));
    cma->verbs = &context;
    return bind(id->fd, address, length_of(address));
}

int rdma_listen(struct rdma_cm_id *cma, int backlog)
{
    struct id *id = (struct id *)cma;

    return listen(id->fd, backlog) ? -1 : start(id, listening);
}

int rdma_resolve_addr(struct rdma_cm_id *cma, struct sockaddr *from, struct sockaddr *to, int timeout)
{
    (void)from, (void)timeout;
    memcpy(&cma->route.addr.dst_addr, to, length_of(to));
    cma->verbs = &context;
    tell((struct id *)cma, NULL, RDMA_CM_EVENT_ADDR_RESOLVED, 0);
    return 0;
}

int rdma_resolve_route(struct rdma_cm_id *cma, int timeout)
{
    (void)timeout;
    tell((struct id *)cma, NULL, RDMA_CM_EVENT_ROUTE_RESOLVED, 0);
    return 0;
}

int rdma_connect(struct rdma_cm_id *cma, struct rdma_conn_param *param)
{
    struct id *id = (struct id *)cma;
    struct qp *qp = (struct qp *)cma->qp;

    if (param && param->private_data) {
        memcpy(id->ours, param->private_data, param->private_data_len);
        id->asked = (struct rdma_conn_param){.private_data = id->ours, .private_data_len = param->private_data_len};
    }
    qp->fd = socket(cma->route.addr.dst_addr.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return qp->fd < 0 ? -1 : start(id, connecting);
}

int rdma_accept(struct rdma_cm_id *cma, struct rdma_conn_param *param)
{
    struct id *id = (struct id *)cma;
    struct qp *qp = (struct qp *)cma->qp;

    qp->fd = id->fd;
    id->fd = -1;
    /* First, so that it comes before anything that the other side does when it has the answer. */
    tell(id, NULL, RDMA_CM_EVENT_ESTABLISHED, 0);
    if (!greet(qp->fd, ACCEPT, param)) {
        errno = ECONNRESET;
        return -1;
    }
    return start(id, serve);
}

int rdma_disconnect(struct rdma_cm_id *cma)
{
    struct qp *qp = (struct qp *)cma->qp;

    if (!qp || qp->fd < 0) {
        errno = EINVAL;
        return -1;
    }
    shutdown(qp->fd, SHUT_WR); /* what was sent arrives; the other side ends the connection when it has read all */
    return 0;
}

int rdma_create_qp(struct rdma_cm_id *cma, struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
    static uint32_t number = 1;
    struct qp *qp = calloc(1, sizeof(*qp));

    qp->ibv = (struct ibv_qp){.context = pd->context, .pd = pd, .send_cq = attr->send_cq, .recv_cq = attr->recv_cq};
    qp->ibv.qp_type = attr->qp_type;
    qp->ibv.qp_num = __atomic_fetch_add(&number, 1, __ATOMIC_RELAXED);
    pthread_mutex_init(&qp->lock, NULL);
    pthread_mutex_init(&qp->sending, NULL);
    pthread_cond_init(&qp->posted, NULL);
    qp->last = &qp->first;
    qp->fd = -1;
    cma->qp = &qp->ibv;
    cma->pd = pd;
    return 0;
}

void rdma_destroy_qp(struct rdma_cm_id *cma)
{
    struct id *id = (struct id *)cma;
    struct qp *qp = (struct qp *)cma->qp;

    pthread_mutex_lock(&qp->lock);
    qp->closing = true;
    pthread_cond_signal(&qp->posted);
    pthread_mutex_unlock(&qp->lock);
    if (qp->fd >= 0)
        shutdown(qp->fd, SHUT_RDWR);
    if (id->has_thread)
        pthread_join(id->thread, NULL);
    id->has_thread = false;
    if (qp->fd >= 0)
        close(qp->fd);
    for (struct receive *one; (one = next_receive(qp, true));)
        free(one);
    free(qp);
    cma->qp = NULL;
}

int rdma_getaddrinfo(const char *node, const char *service, const struct rdma_addrinfo *hints,
                     struct rdma_addrinfo **found)
{
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *all;
    int error = getaddrinfo(node, service, &wanted, &all);

    (void)hints;
    if (error)
        return error;
    *found = NULL;
    for (struct addrinfo *one = all; one; one = one->ai_next, found = &(*found)->ai_next) {
        *found = calloc(1, sizeof(**found));
        (*found)->ai_family = one->ai_family;
        (*found)->ai_dst_len = one->ai_addrlen;
        (*found)->ai_dst_addr = malloc(one->ai_addrlen);
        memcpy((*found)->ai_dst_addr, one->ai_addr, one->ai_addrlen);
    }
    freeaddrinfo(all);
    return 0;
}

void rdma_freeaddrinfo(struct rdma_addrinfo *one)
{
    while (one) {
        struct rdma_addrinfo *next = one->ai_next;
        free(one->ai_dst_addr);
        free(one);
        one = next;
    }
}

/* -- libibverbs -- */

struct ibv_pd *ibv_alloc_pd(struct ibv_context *verbs)
{
    struct ibv_pd *pd = calloc(1, sizeof(*pd));

    pd->context = verbs;
    return pd;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
    free(pd);
    return 0;
}

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *verbs)
{
    struct comp_channel *channel = calloc(1, sizeof(*channel));
    int ends[2];

    if (pipe2(ends, O_CLOEXEC)) {
        free(channel);
        return NULL;
    }
    channel->ibv = (struct ibv_comp_channel){.context = verbs, .fd = ends[0]};
    channel->write_end = ends[1];
    return &channel->ibv;
}

int ibv_destroy_comp_channel(struct ibv_comp_channel *channel)
{
    close(channel->fd);
    close(((struct comp_channel *)channel)->write_end);
    free(channel);
    return 0;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *verbs, int entries, void *opaque, struct ibv_comp_channel *channel,
                             int vector)
{
    struct cq *cq = calloc(1, sizeof(*cq));

    (void)vector;
    cq->ibv = (struct ibv_cq){.context = verbs, .channel = channel, .cq_context = opaque, .cqe = entries};
    pthread_mutex_init(&cq->lock, NULL);
    cq->last = &cq->first;
    cq->channel = channel;
    return &cq->ibv;
}

int ibv_destroy_cq(struct ibv_cq *ibv)
{
    struct ibv_wc wc;

    while (poll_cq(ibv, 1, &wc))
        ;
    free(ibv);
    return 0;
}

int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **opaque)
{
    ssize_t got;

    do
        got = read(channel->fd, cq, sizeof(*cq));
    while (got < 0 && errno == EINTR);
    if (got != sizeof(*cq))
        return -1;
    *opaque = (*cq)->cq_context;
    return 0;
}

void ibv_ack_cq_events(struct ibv_cq *cq, unsigned int count)
{
    (void)cq, (void)count;
}

int ibv_query_device(struct ibv_context *verbs, struct ibv_device_attr *attr)
{
    (void)verbs;
    memset(attr, 0, sizeof(*attr));
    return 0;
}

int ibv_query_port(struct ibv_context *verbs, uint8_t port, struct _compat_ibv_port_attr *compat)
{
    struct ibv_port_attr *attr = (struct ibv_port_attr *)compat; /* its beginning */

    (void)verbs, (void)port;
    attr->state = IBV_PORT_ACTIVE;
    attr->link_layer = IBV_LINK_LAYER_ETHERNET;
    return 0;
}

struct ibv_device **ibv_get_device_list(int *count)
{
    struct ibv_device **list = calloc(2, sizeof(*list));

    list[0] = &device;
    if (count)
        *count = 1;
    return list;
}

struct ibv_context *ibv_open_device(struct ibv_device *one)
{
    (void)one;
    return &context;
}

int ibv_close_device(struct ibv_context *verbs)
{
    (void)verbs;
    return 0;
}
