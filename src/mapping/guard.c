/* SPDX-License-Identifier: MIT */
/*
 * Happy path: guarded_copy() notes where to return to, copies, forgets the note.
 * Failure: the copy touches a page that cannot appear; SIGBUS arrives in the copying thread, the
 * handler sees the thread's note and jumps back. The note is per thread and SIGBUS of a memory access
 * is synchronous, so no other thread is involved.
 */
#include "mapping/guard.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

/* A jump buffer whose content the optimizer must not move across the copy: hence the volatile. */
static _Thread_local sigjmp_buf *volatile armed;

static void on_bus_error(int number, siginfo_t *info, void *context)
{
	sigjmp_buf *target = armed;

	(void)info;
	(void)context;
	if (target != NULL) {
		armed = NULL;
		siglongjmp(*target, 1);
	}
	/* Nobody's copy: let the access fault again with the default effect, a core dump. */
	signal(number, SIG_DFL);
}

int guard_init(void)
{
	/* SA_NODEFER: the handler is left by a jump that restores no signal mask (saving it would cost a
	 * system call a copy), so SIGBUS must not be blocked inside it. */
	struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

#ifdef SANITIZED
/* A sanitizer runs handlers with every signal blocked, whatever was asked for. */
#define SAVE_MASK 1

/* The bytes of a file are shared with other processes; a race on them is the client's business and a
 * sanitizer must not see it. An instrumented memcpy() would show it. */
static void copy_bytes(void *to, const void *from, size_t length)
{
#if defined(__x86_64__)
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
#else
	volatile unsigned char *t = to;
	const volatile unsigned char *f = from;

	while (length-- > 0)
		*t++ = *f++;
#endif
}
#else
#define SAVE_MASK 0

static void copy_bytes(void *to, const void *from, size_t length)
{
	memcpy(to, from, length);
}
#endif

#if !defined(__x86_64__) && defined(SANITIZED)
__attribute__((no_sanitize("thread", "address")))
#endif
int guarded_copy(void *to, const void *from, size_t length)
{
	sigjmp_buf here;

	if (sigsetjmp(here, SAVE_MASK) != 0)
		return -EFAULT;
	armed = &here;
	copy_bytes(to, from, length);
	/* Keep the copy before the disarming store; memcpy() need not be a call. */
	__asm__ volatile("" : : : "memory");
	armed = NULL;
	return 0;
}

#if defined(__x86_64__)
/* The least there is; a longer one is flushed twice. */
#define CACHE_LINE 64
/* CPUID leaf 7, EBX */
#define FEATURE_CLFLUSHOPT (1u << 23)
#define FEATURE_CLWB (1u << 24)
#define FEATURES_KNOWN 1u

static unsigned cpuid_ebx(unsigned leaf, unsigned *ret_highest)
{
	unsigned b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(leaf), "=b"(b), "+c"(c), "=d"(d));
	*ret_highest = leaf;
	return b;
}

static unsigned flush_features(void)
{
	static _Atomic unsigned known;
	unsigned features = known, highest;

	if (features == 0) {
		cpuid_ebx(0, &highest);
		features = FEATURES_KNOWN | (highest < 7 ? 0 : cpuid_ebx(7, &highest));
		known = features;
	}
	return features;
}

/* What every x86_64 has is clflush; of the other two several run at a time, and clwb keeps the line cached. */
static void flush_line(volatile char *line, unsigned features)
{
	if (features & FEATURE_CLWB)
		__asm__ volatile("clwb %0" : "+m"(*line));
	else if (features & FEATURE_CLFLUSHOPT)
		__asm__ volatile("clflushopt %0" : "+m"(*line));
	else
		__asm__ volatile("clflush %0" : "+m"(*line));
}

static void flush_lines(const void *bytes, size_t length)
{
	uintptr_t end = (uintptr_t)bytes + length;
	unsigned features = flush_features();

	for (uintptr_t at = (uintptr_t)bytes & ~(uintptr_t)(CACHE_LINE - 1); at < end; at += CACHE_LINE)
		flush_line((volatile char *)at, features);
	__asm__ volatile("sfence" : : : "memory");
}

bool guard_can_persist(void)
{
	return true;
}
#else
static void flush_lines(const void *bytes, size_t length)
{
	(void)bytes;
	(void)length;
}

bool guard_can_persist(void)
{
	return false;
}
#endif

int guarded_persist(const void *bytes, size_t length)
{
	sigjmp_buf here;

	if (sigsetjmp(here, SAVE_MASK) != 0)
		return -EFAULT;
	armed = &here;
	flush_lines(bytes, length);
	armed = NULL;
	return 0;
}
