/* SPDX-License-Identifier: MIT */
/*
 * Happy path: a thread offers the kernel the memory of its entry and sleeps; a request lands there, its pieces are
 * put together for the library, a handler runs and the library answers, by ring_reply(), into the same memory. Going
 * back to sleep hands the answer over and takes the next request: one io_uring_enter(2) for both.
 *
 * A handler may return without an answer: another thread gives it later. The request's own thread sleeps until then.
 *
 * End: after an unmount the kernel returns entries with ENOTCONN. Otherwise threads are signalled, which
 * interrupts their sleep.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "creds.h"
#include "log.h"
#include "request.h"
#include "ring.h"
#include "ring_private.h"
#include "session_private.h"
#include "straight.h"
#include "util.h"

/* The headers, and at its end the request's, contiguous with the payload. */
#define FRONT_SIZE ((size_t)4096)
#define MEMORY_SIZE (FRONT_SIZE + 2 * MAX_WRITE)

/* Small requests in a row after which a thread stays on its queue's CPU. */
#define BIND_AFTER 4

/* How long to wait before trying again to start a thread. */
#define RETRY_NS 100000000

/* Where io_uring_enter(2) fails; and how often the last one is tried. */
#define PAUSE_NS 1000000
#define LAST_TRIES 100

static _Thread_local struct ring_worker *mine;

static struct protocol_ring_headers *headers_of(const struct ring_worker *worker)
{
	return (struct protocol_ring_headers *)worker->memory;
}

static unsigned char *payload_of(const struct ring_worker *worker)
{
	return worker->memory + FRONT_SIZE;
}

void ring_worker_free(struct ring_worker *worker)
{
	uring_fini(&worker->uring);
	munmap(worker->memory, MEMORY_SIZE);
	sem_destroy(&worker->late);
	free(worker->late_bytes);
	free(worker);
}

/* A worker in the list; its thread is not started. */
int ring_worker_new(struct ring *ring, unsigned queue, struct ring_worker **ret_worker)
{
	struct ring_worker *worker = calloc(1, sizeof(*worker));
	int result;

	if (worker == NULL)
		return -ENOMEM;
	worker->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (worker->memory == MAP_FAILED) {
		free(worker);
		return -ENOMEM;
	}
	result = uring_init(&worker->uring);
	if (result < 0) {
		munmap(worker->memory, MEMORY_SIZE);
		free(worker);
		return result;
	}
	sem_init(&worker->late, 0, 0);
	worker->ring = ring;
	worker->queue = queue;
	worker->ended = true;
	worker->entry[0] = (struct iovec){worker->memory, sizeof(struct protocol_ring_headers)};
	worker->entry[1] = (struct iovec){payload_of(worker), MAX_WRITE};
	{
		LOCK_SCOPE(&ring->lock);
		worker->next = atomic_load(&ring->workers);
		atomic_store(&ring->workers, worker);
	}
	*ret_worker = worker;
	return 0;
}

static void worker_prepare(struct ring_worker *worker, unsigned operation)
{
	struct protocol_ring_command command = {.commit_id = worker->commit_id,
						.queue = (uint16_t)worker->queue};
	struct io_uring_sqe *sqe = uring_prepare(&worker->uring);

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = worker->ring->session->fd;
	sqe->cmd_op = operation;
	sqe->addr = (uint64_t)(uintptr_t)worker->entry;
	sqe->len = ARRAY_LENGTH(worker->entry);
	memcpy(sqe->cmd, &command, sizeof(command));
}

/* The answer is in the entry's memory; going to sleep hands it over. */
static void worker_commit(struct ring_worker *worker, const struct fuse_out_header *header, size_t length)
{
	struct protocol_ring_headers *headers = headers_of(worker);

	memcpy(headers->header, header, sizeof(*header));
	headers->payload_size = (uint32_t)length;
	atomic_store_explicit(&worker->unique, 0, memory_order_relaxed);
	worker_prepare(worker, PROTOCOL_RING_COMMIT_AND_FETCH);
	STRAIGHT_REPLIES();
}

static size_t length_of(const struct iovec *iov, int count)
{
	size_t length = 0;

	for (int i = 0; i < count; i++)
		length += iov[i].iov_len;
	return length;
}

static void gather(unsigned char *to, const struct iovec *iov, int count)
{
	for (int i = 0; i < count; i++) {
		/* A reply to a read is there already. */
		if (iov[i].iov_base != to && iov[i].iov_len > 0)
			memmove(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
}

/* For another thread's request: leave the answer to it. */
static void worker_reply_late(struct ring_worker *worker, const struct iovec *iov, int count)
{
	worker->late_header = *(const struct fuse_out_header *)iov[0].iov_base;
	worker->late_length = length_of(iov + 1, count - 1);
	worker->late_bytes = worker->late_length > 0 ? malloc(worker->late_length) : NULL;
	if (worker->late_bytes != NULL) {
		gather(worker->late_bytes, iov + 1, count - 1);
	} else if (worker->late_length > 0) {
		worker->late_length = 0;
		worker->late_header.error = -ENOMEM;
	}
	sem_post(&worker->late);
}

static struct ring_worker *worker_serving(struct ring *ring, uint64_t unique)
{
	struct ring_worker *worker = atomic_load(&ring->workers);

	while (worker != NULL && atomic_load(&worker->unique) != unique)
		worker = worker->next;
	return worker;
}

ssize_t ring_reply(struct ring *ring, const struct iovec *iov, int count)
{
	const struct fuse_out_header *header = iov[0].iov_base;
	struct ring_worker *worker = mine;
	size_t length;

	/* A notification answers nothing. */
	if (ring == NULL || header->unique == 0) {
		errno = ENOENT;
		return -1;
	}
	length = length_of(iov + 1, count - 1);
	if (worker != NULL && atomic_load_explicit(&worker->unique, memory_order_relaxed) == header->unique) {
		if (length > MAX_WRITE) {
			errno = EINVAL;
			return -1;
		}
		gather(payload_of(worker), iov + 1, count - 1);
		worker_commit(worker, header, length);
		return (ssize_t)(iov[0].iov_len + length);
	}
	worker = worker_serving(ring, header->unique);
	if (worker == NULL) {
		errno = ENOENT;
		return -1;
	}
	worker_reply_late(worker, iov, count);
	return (ssize_t)(iov[0].iov_len + length);
}

static void worker_count_serving(struct ring_worker *worker, int by)
{
	LOCK_SCOPE(&worker->ring->lock);
	worker->ring->serving[worker->queue] += (unsigned)by;
}

/* Return: is the thread on the queue's CPU now? */
static bool worker_bind(struct ring_worker *worker)
{
	cpu_set_t own;

	if (worker->queue >= CPU_SETSIZE)
		return false;
	CPU_ZERO(&own);
	CPU_SET(worker->queue, &own);
	worker->bound = sched_setaffinity(0, sizeof(own), &own) == 0;
	return worker->bound;
}

static void worker_unbind(struct ring_worker *worker)
{
	worker->bound = false;
	worker->small_run = 0;
	(void)sched_setaffinity(0, sizeof(worker->ring->cpus), &worker->ring->cpus);
}

bool ring_leave(struct ring *ring, uint64_t nodeid)
{
	struct ring_worker *worker = mine;

	if (ring == NULL || worker == NULL)
		return true;
	/* Who waits in its place starts where this one is, and may work for long. */
	if (worker->bound)
		worker_unbind(worker);
	worker_count_serving(worker, -1);
	worker->left = ring_fill_queue(ring, worker->queue, nodeid);
	if (!worker->left)
		worker_count_serving(worker, 1);
	return worker->left;
}

/* The handler has left the answer to another thread. Return: false where the session stops before there is one. */
static bool worker_await_late(struct ring_worker *worker, uint64_t nodeid)
{
	bool replaced = worker->left, came;

	if (!worker->left)
		worker_count_serving(worker, -1);
	worker->left = false;
	came = sem_trywait(&worker->late) == 0;
	while (!came && !atomic_load(&worker->ring->session->stopping)) {
		struct timespec until;

		if (!replaced)
			replaced = ring_fill_queue(worker->ring, worker->queue, nodeid);
		if (replaced) {
			came = sem_wait(&worker->late) == 0;
			continue;
		}
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += RETRY_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		came = sem_timedwait(&worker->late, &until) == 0;
	}
	worker_count_serving(worker, 1);
	/* It may have come just before the end. */
	if (!came && sem_trywait(&worker->late) < 0)
		return false;
	if (worker->late_length > 0)
		memcpy(payload_of(worker), worker->late_bytes, worker->late_length);
	free(worker->late_bytes);
	worker->late_bytes = NULL;
	worker_commit(worker, &worker->late_header, worker->late_length);
	return true;
}

static bool is_large_read(const struct protocol_ring_headers *headers, const struct protocol_header *header)
{
	struct fuse_read_in in;

	memcpy(&in, headers->argument, sizeof(in));
	return header->opcode == FUSE_READ && in.size >= STRAIGHT_MIN;
}

/*
 * On the CPU of who asks a thread is woken soonest, and who asks has nothing to do meanwhile. Large reads are mostly
 * made ahead: who asks goes on, and the bytes had better be copied on another CPU.
 */
static void worker_choose_cpu(struct ring_worker *worker, bool large)
{
	worker->small_run = large ? 0 : worker->small_run + 1;
	if (large && worker->bound)
		worker_unbind(worker);
	else if (worker->small_run == BIND_AFTER && worker->queue < CPU_SETSIZE &&
		 CPU_ISSET(worker->queue, &worker->ring->cpus))
		worker_bind(worker);
}

/* The request that is in the entry's memory. Return: false where the worker should end. */
static bool worker_serve(struct ring_worker *worker)
{
	const struct protocol_ring_headers *headers = headers_of(worker);
	struct protocol_header header;
	unsigned char *payload = payload_of(worker), *buffer;
	size_t argument;

	memcpy(&header, headers->header, sizeof(header));
	argument = header.len - sizeof(header) - headers->payload_size;
	worker->commit_id = headers->commit_id;
	if (header.opcode == FUSE_NOTIFY_REPLY) {
		worker_commit(worker,
			      &(struct fuse_out_header){.len = sizeof(struct fuse_out_header),
							.unique = header.unique},
			      0);
		return true;
	}
	if (argument > sizeof(headers->argument) || headers->payload_size > MAX_WRITE ||
	    argument % sizeof(uint64_t) != 0) {
		struct fuse_out_header refusal = {sizeof(refusal), -EIO, header.unique};

		log_error("request %u through io_uring has %u bytes that make no sense", header.opcode,
			  header.len);
		worker_commit(worker, &refusal, 0);
		return true;
	}
	worker_choose_cpu(worker, is_large_read(headers, &header));
	buffer = payload - argument - sizeof(header);
	memcpy(buffer, &header, sizeof(header));
	memcpy(buffer + sizeof(header), headers->argument, argument);
	atomic_store(&worker->unique, header.unique);
	session_serve(worker->ring->session, buffer, header.len,
		      headers->payload_size == 0 ? payload : payload + MAX_WRITE, true);
	if (atomic_load_explicit(&worker->unique, memory_order_relaxed) == 0) {
		if (worker->left)
			worker_count_serving(worker, 1);
		worker->left = false;
		return true;
	}
	return worker_await_late(worker, header.nodeid);
}

static void worker_register(struct ring_worker *worker)
{
	worker_prepare(worker, PROTOCOL_RING_REGISTER);
	if (uring_enter(&worker->uring, false) < 0 || worker->behind == 0)
		return;
	/* The kick goes to the queue of the CPU that it is made on. */
	if (worker_bind(worker))
		ring_kick(worker->ring, worker->queue, worker->behind);
	else
		log_error("requests of CPU %u, which is not open to the daemon any more, may have to wait "
			  "for others",
			  worker->queue);
	worker_unbind(worker);
}

/* Return: false where the worker should end. */
static bool worker_take(struct ring_worker *worker)
{
	int result = uring_enter(&worker->uring, true);

	/* What is to be submitted is still there: an answer must not be lost because memory is short for a moment. */
	if (result < 0 && result != -EINTR) {
		if (result != -EAGAIN && result != -EBUSY && !worker->said)
			log_error("io_uring_enter: %s", strerror(-result));
		worker->said = true;
		nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
	}
	if (!uring_take(&worker->uring, &result))
		return true;
	if (result == 0) {
		worker->registered = true;
		return worker_serve(worker);
	}
	if (result == -ENOMEM && !worker->registered) {
		nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
		worker_register(worker);
		return true;
	}
	/* ENOTCONN, ECONNABORTED: unmounted, or the connection was aborted. ENOENT: with it, before the answer. */
	if (result != -ENOTCONN && result != -ECONNABORTED && result != -ENOENT && result != -ECANCELED)
		log_error("io_uring, requests of CPU %u: %s", worker->queue, strerror(-result));
	return false;
}

/* Of what sets up a thread; where one waits for it to take its place, it has to come about. */
static bool worth_another_try(const struct ring_worker *worker, int result)
{
	if (result == -ENOMEM && worker->behind != 0 && !atomic_load(&worker->ring->session->stopping)) {
		nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
		return true;
	}
	return result == -EINTR || result == -EAGAIN;
}

/* Whatever keeps io_uring from the daemon should do so before the kernel relies on it. */
static int worker_try_out(struct ring_worker *worker)
{
	int result = uring_enable(&worker->uring), done;

	if (result < 0)
		return result;
	uring_prepare(&worker->uring)->opcode = IORING_OP_NOP;
	do
		result = uring_enter(&worker->uring, true);
	while (worth_another_try(worker, result));
	if (result == 0 && !uring_take(&worker->uring, &done))
		result = -EIO;
	return result;
}

/* In its own thread. Return: may it register? */
static bool worker_begin(struct ring_worker *worker)
{
	struct ring *ring = worker->ring;
	int result;

	/* What a thread is started by may be bound to a CPU. */
	if (CPU_COUNT(&ring->cpus) > 0)
		(void)sched_setaffinity(0, sizeof(ring->cpus), &ring->cpus);
	do
		result = creds_thread_init();
	while (worth_another_try(worker, result));
	if (result == 0)
		result = worker_try_out(worker);
	if (result < 0)
		log_error("cannot use io_uring for requests of CPU %u: %s", worker->queue, strerror(-result));
	LOCK_SCOPE(&ring->lock);
	worker->usable = result == 0;
	worker->ended = result < 0;
	pthread_cond_broadcast(&ring->changed);
	while (result == 0 && !ring->going && !ring->given_up && !atomic_load(&ring->session->stopping))
		pthread_cond_wait(&ring->changed, &ring->lock);
	return result == 0 && ring->going;
}

/* What was done must not be told to have failed: the last answer goes out before the end. */
static void worker_hand_over(struct ring_worker *worker)
{
	for (int i = 0; i < LAST_TRIES && worker->uring.unsubmitted > 0; i++) {
		if (uring_enter(&worker->uring, false) < 0)
			nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
	}
}

static void *worker_run(void *argument)
{
	struct ring_worker *worker = argument;
	struct ring *ring = worker->ring;

	if (worker_begin(worker)) {
		mine = worker;
		worker_register(worker);
		while (!atomic_load_explicit(&ring->session->stopping, memory_order_relaxed) &&
		       worker_take(worker))
			continue;
		worker_hand_over(worker);
	}
	atomic_store(&worker->unique, 0);
	straight_thread_end();
	LOCK_SCOPE(&ring->lock);
	ring->serving[worker->queue]--;
	worker->ended = true;
	pthread_cond_broadcast(&ring->changed);
	return NULL;
}

/* For a worker in the list. Return: 0 or -errno of pthread_create(3). */
int ring_worker_start(struct ring_worker *worker, uint64_t behind)
{
	struct ring *ring = worker->ring;
	pthread_t thread;
	int result;

	LOCK_SCOPE(&ring->lock);
	if (atomic_load(&ring->session->stopping))
		return -ESHUTDOWN;
	if (worker->started)
		return -EALREADY;
	worker->behind = behind;
	result = -pthread_create(&thread, NULL, worker_run, worker);
	if (result == 0) {
		/* Not before: a call that fails leaves any value. */
		worker->thread = thread;
		worker->started = true;
		worker->ended = false;
		ring->serving[worker->queue]++;
	}
	return result;
}
